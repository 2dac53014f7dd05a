"""What a person sees first: is the node well, what needs attention, what does it do."""
