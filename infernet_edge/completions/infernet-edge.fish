# fish completion of infernet-edge; made by tests/support/completion.py; used as `infernet-edge completion` says

function __infernet_edge_at --description 'Whether a command is the one of the line'
    set -l place
    set -l skipped 0
    for word in (commandline -opc)[2..-1]
        if test $skipped = 1
            set skipped 0
        else if contains -- $word --before --cacert --client --config --container --deadline --expires --file --find --folder --format --host --id --idempotency-key --image --limit --lines --name --old-password-file --output --password-file --podman-url --port --priority --recipe --scope --set --set-file --sha256 --spender --state --tail --timeout --token --token-file --trial --types --url --wait -n
            set skipped 1
        else
            set -l next (string trim "$place $word")
            if contains -- $next 'demo' 'init' 'add-service' 'remove-service' 'check' 'run' 'service' 'service install' 'service uninstall' 'service status' 'service logs' 'service upgrade' 'service rollback' 'service unpack' 'submit' 'stream' 'wait' 'cancel' 'status' 'jobs' 'events' 'token' 'token new' 'token list' 'token revoke' 'reload' 'doctor' 'backup' 'restore' 'export' 'wallet' 'wallet new' 'wallet import' 'wallet show' 'wallet register' 'wallet activate' 'wallet pay' 'wallet pay create' 'wallet pay show' 'wallet pay approve' 'wallet pay withdraw' 'help' 'completion' 'version'
                set place $next
            end
        end
    end
    test "$place" = "$argv[1]"
end

function __infernet_edge_containers --description 'Names of containers, also after a comma'
    set -l before (string match -r '.*,' -- (commandline -ct))
    for name in (infernet-edge completion --containers 2>/dev/null)
        echo "$before$name"
    end
end

complete -c infernet-edge -n '__infernet_edge_at \'\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'\'' -f -a 'demo' -d 'Start a node with two small example services, as containers if Podman can run them and as processes otherwise'
complete -c infernet-edge -n '__infernet_edge_at \'\'' -f -a 'init' -d 'Write a configuration file'
complete -c infernet-edge -n '__infernet_edge_at \'\'' -f -a 'add-service' -d 'Add the container of a recipe of the registry (infernet-recipes) to the configuration'
complete -c infernet-edge -n '__infernet_edge_at \'\'' -f -a 'remove-service' -d 'Remove a container from the configuration'
complete -c infernet-edge -n '__infernet_edge_at \'\'' -f -a 'check' -d 'check the configuration and list all its errors'
complete -c infernet-edge -n '__infernet_edge_at \'\'' -f -a 'run' -d 'run the node until Ctrl+C or SIGTERM'
complete -c infernet-edge -n '__infernet_edge_at \'\'' -f -a 'service' -d 'install the node as a systemd service, upgrade it, show its state'
complete -c infernet-edge -n '__infernet_edge_at \'\'' -f -a 'submit' -d 'send a job to a node'
complete -c infernet-edge -n '__infernet_edge_at \'\'' -f -a 'stream' -d 'run one container and print its output as it comes'
complete -c infernet-edge -n '__infernet_edge_at \'\'' -f -a 'wait' -d 'wait until jobs have ended, and print their results'
complete -c infernet-edge -n '__infernet_edge_at \'\'' -f -a 'cancel' -d 'cancel jobs that wait or run'
complete -c infernet-edge -n '__infernet_edge_at \'\'' -f -a 'status' -d 'show health, jobs, containers, disk, memory and chain of a running node'
complete -c infernet-edge -n '__infernet_edge_at \'\'' -f -a 'jobs' -d 'list the newest jobs of all clients, or show one'
complete -c infernet-edge -n '__infernet_edge_at \'\'' -f -a 'events' -d 'show what happens in a node: jobs, containers, storage, chain'
complete -c infernet-edge -n '__infernet_edge_at \'\'' -f -a 'token' -d 'make, list and revoke the tokens that clients of the node need'
complete -c infernet-edge -n '__infernet_edge_at \'\'' -f -a 'reload' -d 'make the running node read its configuration again, without interrupting jobs'
complete -c infernet-edge -n '__infernet_edge_at \'\'' -f -a 'doctor' -d 'Checks all that a node needs, and prints for each check whether it is ok, and if not, what it means and how to fix it'
complete -c infernet-edge -n '__infernet_edge_at \'\'' -f -a 'backup' -d 'write the jobs and the configuration of the node into one file'
complete -c infernet-edge -n '__infernet_edge_at \'\'' -f -a 'restore' -d 'put a backup in the place of the node\'s jobs'
complete -c infernet-edge -n '__infernet_edge_at \'\'' -f -a 'export' -d 'write the node and its services as files of Kubernetes or Podman'
complete -c infernet-edge -n '__infernet_edge_at \'\'' -f -a 'wallet' -d 'make, import, show and register the node\'s account'
complete -c infernet-edge -n '__infernet_edge_at \'\'' -f -a 'help' -d 'show a page of the documentation, or the list of its pages'
complete -c infernet-edge -n '__infernet_edge_at \'\'' -f -a 'completion' -d 'print the completion of commands and options for a shell'
complete -c infernet-edge -n '__infernet_edge_at \'\'' -f -a 'version' -d 'print the versions of the node, Python, SQLite and the system'
complete -c infernet-edge -n '__infernet_edge_at \'\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'\'' -l version -d 'show program\'s version number and exit'
complete -c infernet-edge -n '__infernet_edge_at \'demo\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'demo\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'demo\'' -l once -d 'exit when the jobs are done'
complete -c infernet-edge -n '__infernet_edge_at \'demo\'' -l port -x -d 'port of the node'
complete -c infernet-edge -n '__infernet_edge_at \'demo\'' -l host -x -d 'address to listen on'
complete -c infernet-edge -n '__infernet_edge_at \'demo\'' -l image -x -d 'image with python3 for the services'
complete -c infernet-edge -n '__infernet_edge_at \'demo\'' -l podman-url -x -d 'Podman\'s API'
complete -c infernet-edge -n '__infernet_edge_at \'demo\'' -l no-podman -d 'run the services as processes'
complete -c infernet-edge -n '__infernet_edge_at \'demo\'' -l keep -d 'keep the node\'s data'
complete -c infernet-edge -n '__infernet_edge_at \'init\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'init\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'init\'' -l output -r -F -d 'the file to write'
complete -c infernet-edge -n '__infernet_edge_at \'init\'' -l format -x -a 'toml json' -d 'toml explains every setting in comments'
complete -c infernet-edge -n '__infernet_edge_at \'init\'' -l host -x -d 'address to listen on'
complete -c infernet-edge -n '__infernet_edge_at \'init\'' -l port -x -d 'port of the REST API'
complete -c infernet-edge -n '__infernet_edge_at \'init\'' -l image -x -d 'an image to run as a container'
complete -c infernet-edge -n '__infernet_edge_at \'init\'' -l url -x -d 'a service that runs elsewhere'
complete -c infernet-edge -n '__infernet_edge_at \'init\'' -l id -x -d 'name in jobs of the first, second, '
complete -c infernet-edge -n '__infernet_edge_at \'init\'' -l recipe -r -F -d 'a recipe of the registry (infernet-recipes), of a node or of a service, to fill in'
complete -c infernet-edge -n '__infernet_edge_at \'init\'' -l set -x -d 'value of an input of the recipe, or of a key of its configuration such as chain.rpc_url'
complete -c infernet-edge -n '__infernet_edge_at \'init\'' -l set-file -x -d 'the same, with the value in a file'
complete -c infernet-edge -n '__infernet_edge_at \'init\'' -l yes -l defaults -d 'ask no questions'
complete -c infernet-edge -n '__infernet_edge_at \'init\'' -l force -d 'replace the file if it exists'
complete -c infernet-edge -n '__infernet_edge_at \'add-service\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'add-service\'' -l config -r -F -d 'configuration, JSON or TOML'
complete -c infernet-edge -n '__infernet_edge_at \'add-service\'' -l id -x -d 'name in jobs'
complete -c infernet-edge -n '__infernet_edge_at \'add-service\'' -l set -x -d 'value of an input of the recipe, or of a key of its configuration such as chain.rpc_url'
complete -c infernet-edge -n '__infernet_edge_at \'add-service\'' -l set-file -x -d 'the same, with the value in a file'
complete -c infernet-edge -n '__infernet_edge_at \'add-service\'' -l yes -l defaults -d 'ask no questions'
complete -c infernet-edge -n '__infernet_edge_at \'remove-service\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'remove-service\'' -f -a '(__infernet_edge_containers)'
complete -c infernet-edge -n '__infernet_edge_at \'remove-service\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'remove-service\'' -l config -r -F -d 'configuration, JSON or TOML'
complete -c infernet-edge -n '__infernet_edge_at \'check\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'check\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'check\'' -l config -r -F -d 'configuration, JSON or TOML'
complete -c infernet-edge -n '__infernet_edge_at \'check\'' -l strict -d 'fail (78) when there are notes, not only errors'
complete -c infernet-edge -n '__infernet_edge_at \'check\'' -l json -d 'print JSON'
complete -c infernet-edge -n '__infernet_edge_at \'run\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'run\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'run\'' -l config -r -F -d 'configuration, JSON or TOML'
complete -c infernet-edge -n '__infernet_edge_at \'run\'' -l verbose -d 'also log details'
complete -c infernet-edge -n '__infernet_edge_at \'service\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'service\'' -f -a 'install' -d 'install this executable as a service and start it'
complete -c infernet-edge -n '__infernet_edge_at \'service\'' -f -a 'uninstall' -d 'stop the service and remove it'
complete -c infernet-edge -n '__infernet_edge_at \'service\'' -f -a 'status' -d 'show the service\'s state, version and health'
complete -c infernet-edge -n '__infernet_edge_at \'service\'' -f -a 'logs' -d 'show the service\'s log'
complete -c infernet-edge -n '__infernet_edge_at \'service\'' -f -a 'upgrade' -d 'run another executable'
complete -c infernet-edge -n '__infernet_edge_at \'service\'' -f -a 'rollback' -d 'run the previous version again, which an upgrade keeps'
complete -c infernet-edge -n '__infernet_edge_at \'service\'' -f -a 'unpack' -d 'unpack this executable into a folder'
complete -c infernet-edge -n '__infernet_edge_at \'service\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'service install\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'service install\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'service install\'' -l dry-run -d 'show every step and change nothing'
complete -c infernet-edge -n '__infernet_edge_at \'service install\'' -l config -r -F -d 'configuration to copy, if none exists in /etc/infernet-edge'
complete -c infernet-edge -n '__infernet_edge_at \'service install\'' -l rootless -d 'run Podman as the node\'s user: safer, without limits for containers'
complete -c infernet-edge -n '__infernet_edge_at \'service install\'' -l rootful -d 'run Podman as root'
complete -c infernet-edge -n '__infernet_edge_at \'service uninstall\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'service uninstall\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'service uninstall\'' -l dry-run -d 'show every step and change nothing'
complete -c infernet-edge -n '__infernet_edge_at \'service uninstall\'' -l purge -d 'remove data, configuration, secrets and user too'
complete -c infernet-edge -n '__infernet_edge_at \'service status\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'service status\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'service status\'' -l json -d 'print JSON'
complete -c infernet-edge -n '__infernet_edge_at \'service logs\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'service logs\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'service logs\'' -l json -d 'print an object for each entry'
complete -c infernet-edge -n '__infernet_edge_at \'service logs\'' -s f -l follow -d 'keep printing new lines'
complete -c infernet-edge -n '__infernet_edge_at \'service logs\'' -s n -l lines -x -d 'how many'
complete -c infernet-edge -n '__infernet_edge_at \'service upgrade\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'service upgrade\'' -l sha256 -x -d 'its expected digest'
complete -c infernet-edge -n '__infernet_edge_at \'service upgrade\'' -l timeout -x -d 'time until it must be ready'
complete -c infernet-edge -n '__infernet_edge_at \'service upgrade\'' -l trial -x -d 'time in which it is on trial: if it crashes repeatedly, it is rolled back'
complete -c infernet-edge -n '__infernet_edge_at \'service rollback\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'service rollback\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'service rollback\'' -l timeout -x -d 'time until it must be ready'
complete -c infernet-edge -n '__infernet_edge_at \'service rollback\'' -l trial -x -d 'time in which it is on trial: if it crashes repeatedly, it is rolled back'
complete -c infernet-edge -n '__infernet_edge_at \'service unpack\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'submit\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'submit\'' -f -a '(__infernet_edge_containers)'
complete -c infernet-edge -n '__infernet_edge_at \'submit\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'submit\'' -l file -r -F -d 'a file with the input'
complete -c infernet-edge -n '__infernet_edge_at \'submit\'' -l wait -x -d 'wait for the result, at most N seconds'
complete -c infernet-edge -n '__infernet_edge_at \'submit\'' -l priority -x -d '-10 to 10'
complete -c infernet-edge -n '__infernet_edge_at \'submit\'' -l deadline -x -d 'fail when it has not started by then'
complete -c infernet-edge -n '__infernet_edge_at \'submit\'' -l timeout -x -d 'for each container, at most that of its configuration'
complete -c infernet-edge -n '__infernet_edge_at \'submit\'' -l idempotency-key -x -d 'any text: repeated with the same one, the job is executed once'
complete -c infernet-edge -n '__infernet_edge_at \'submit\'' -l config -r -F -d 'configuration, JSON or TOML'
complete -c infernet-edge -n '__infernet_edge_at \'submit\'' -l url -x -d 'the node to ask, such as http://raspberrypi.local:4000'
complete -c infernet-edge -n '__infernet_edge_at \'submit\'' -l token-file -r -F -d 'with --url: a file with a token'
complete -c infernet-edge -n '__infernet_edge_at \'submit\'' -l cacert -r -F -d 'with an https URL: the certificate to trust, PEM'
complete -c infernet-edge -n '__infernet_edge_at \'submit\'' -l json -d 'print JSON'
complete -c infernet-edge -n '__infernet_edge_at \'stream\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'stream\'' -f -a '(__infernet_edge_containers)'
complete -c infernet-edge -n '__infernet_edge_at \'stream\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'stream\'' -l file -r -F -d 'a file with the input'
complete -c infernet-edge -n '__infernet_edge_at \'stream\'' -l config -r -F -d 'configuration, JSON or TOML'
complete -c infernet-edge -n '__infernet_edge_at \'stream\'' -l url -x -d 'the node to ask, such as http://raspberrypi.local:4000'
complete -c infernet-edge -n '__infernet_edge_at \'stream\'' -l token-file -r -F -d 'with --url: a file with a token'
complete -c infernet-edge -n '__infernet_edge_at \'stream\'' -l cacert -r -F -d 'with an https URL: the certificate to trust, PEM'
complete -c infernet-edge -n '__infernet_edge_at \'stream\'' -l json -d 'print JSON'
complete -c infernet-edge -n '__infernet_edge_at \'wait\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'wait\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'wait\'' -l timeout -x -d 'for all jobs together'
complete -c infernet-edge -n '__infernet_edge_at \'wait\'' -l config -r -F -d 'configuration, JSON or TOML'
complete -c infernet-edge -n '__infernet_edge_at \'wait\'' -l url -x -d 'the node to ask, such as http://raspberrypi.local:4000'
complete -c infernet-edge -n '__infernet_edge_at \'wait\'' -l token-file -r -F -d 'with --url: a file with a token'
complete -c infernet-edge -n '__infernet_edge_at \'wait\'' -l cacert -r -F -d 'with an https URL: the certificate to trust, PEM'
complete -c infernet-edge -n '__infernet_edge_at \'wait\'' -l json -d 'print JSON'
complete -c infernet-edge -n '__infernet_edge_at \'cancel\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'cancel\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'cancel\'' -l config -r -F -d 'configuration, JSON or TOML'
complete -c infernet-edge -n '__infernet_edge_at \'cancel\'' -l url -x -d 'the node to ask, such as http://raspberrypi.local:4000'
complete -c infernet-edge -n '__infernet_edge_at \'cancel\'' -l token-file -r -F -d 'with --url: a file with a token'
complete -c infernet-edge -n '__infernet_edge_at \'cancel\'' -l cacert -r -F -d 'with an https URL: the certificate to trust, PEM'
complete -c infernet-edge -n '__infernet_edge_at \'cancel\'' -l json -d 'print JSON'
complete -c infernet-edge -n '__infernet_edge_at \'status\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'status\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'status\'' -l config -r -F -d 'configuration, JSON or TOML'
complete -c infernet-edge -n '__infernet_edge_at \'status\'' -l url -x -d 'the node to ask, such as http://raspberrypi.local:4000'
complete -c infernet-edge -n '__infernet_edge_at \'status\'' -l token-file -r -F -d 'with --url: a file with a token'
complete -c infernet-edge -n '__infernet_edge_at \'status\'' -l cacert -r -F -d 'with an https URL: the certificate to trust, PEM'
complete -c infernet-edge -n '__infernet_edge_at \'status\'' -l json -d 'print JSON'
complete -c infernet-edge -n '__infernet_edge_at \'jobs\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'jobs\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'jobs\'' -l limit -x -d 'how many'
complete -c infernet-edge -n '__infernet_edge_at \'jobs\'' -l state -x -a 'running success failed cancelled' -d 'list those in this state'
complete -c infernet-edge -n '__infernet_edge_at \'jobs\'' -l container -x -a '(__infernet_edge_containers)' -d 'list those with this container'
complete -c infernet-edge -n '__infernet_edge_at \'jobs\'' -l client -x -d 'list those of this client'
complete -c infernet-edge -n '__infernet_edge_at \'jobs\'' -l find -x -d 'list those whose id begins with this'
complete -c infernet-edge -n '__infernet_edge_at \'jobs\'' -l before -x -d 'list those that are older than this one'
complete -c infernet-edge -n '__infernet_edge_at \'jobs\'' -l onchain -d 'list subscriptions of the chain and their deliveries, each with its state'
complete -c infernet-edge -n '__infernet_edge_at \'jobs\'' -l skipped -d 'with --onchain: list what this node does not serve, with reasons'
complete -c infernet-edge -n '__infernet_edge_at \'jobs\'' -l config -r -F -d 'configuration, JSON or TOML'
complete -c infernet-edge -n '__infernet_edge_at \'jobs\'' -l url -x -d 'the node to ask, such as http://raspberrypi.local:4000'
complete -c infernet-edge -n '__infernet_edge_at \'jobs\'' -l token-file -r -F -d 'with --url: a file with a token'
complete -c infernet-edge -n '__infernet_edge_at \'jobs\'' -l cacert -r -F -d 'with an https URL: the certificate to trust, PEM'
complete -c infernet-edge -n '__infernet_edge_at \'jobs\'' -l json -d 'print JSON'
complete -c infernet-edge -n '__infernet_edge_at \'events\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'events\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'events\'' -s f -l follow -d 'keep showing new events'
complete -c infernet-edge -n '__infernet_edge_at \'events\'' -l types -x -d 'job, container, storage, chain, attention, minute, machine'
complete -c infernet-edge -n '__infernet_edge_at \'events\'' -l tail -x -d 'show the last N events first'
complete -c infernet-edge -n '__infernet_edge_at \'events\'' -l config -r -F -d 'configuration, JSON or TOML'
complete -c infernet-edge -n '__infernet_edge_at \'events\'' -l url -x -d 'the node to ask, such as http://raspberrypi.local:4000'
complete -c infernet-edge -n '__infernet_edge_at \'events\'' -l token-file -r -F -d 'with --url: a file with a token'
complete -c infernet-edge -n '__infernet_edge_at \'events\'' -l cacert -r -F -d 'with an https URL: the certificate to trust, PEM'
complete -c infernet-edge -n '__infernet_edge_at \'events\'' -l json -d 'print JSON'
complete -c infernet-edge -n '__infernet_edge_at \'token\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'token\'' -f -a 'new' -d 'make a token'
complete -c infernet-edge -n '__infernet_edge_at \'token\'' -f -a 'list' -d 'list all tokens: scope, expiry and last use, never their texts'
complete -c infernet-edge -n '__infernet_edge_at \'token\'' -f -a 'revoke' -d 'revoke a token: the node refuses it from now on'
complete -c infernet-edge -n '__infernet_edge_at \'token\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'token new\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'token new\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'token new\'' -l scope -x -a 'read submit operator metrics' -d 'what it permits'
complete -c infernet-edge -n '__infernet_edge_at \'token new\'' -l expires -x -d 'a period such as 12h, 30d or 8w, or a date such as 2027-01-01, which is its beginning in UTC'
complete -c infernet-edge -n '__infernet_edge_at \'token new\'' -l keep-jobs -d 'it is for the same person as an earlier token of this name, and may read those jobs'
complete -c infernet-edge -n '__infernet_edge_at \'token new\'' -l replace-damaged -d 'put a damaged file of tokens aside, and begin a new one'
complete -c infernet-edge -n '__infernet_edge_at \'token new\'' -l config -r -F -d 'configuration, JSON or TOML'
complete -c infernet-edge -n '__infernet_edge_at \'token new\'' -l json -d 'print JSON'
complete -c infernet-edge -n '__infernet_edge_at \'token list\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'token list\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'token list\'' -l config -r -F -d 'configuration, JSON or TOML'
complete -c infernet-edge -n '__infernet_edge_at \'token list\'' -l json -d 'print JSON'
complete -c infernet-edge -n '__infernet_edge_at \'token revoke\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'token revoke\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'token revoke\'' -l yes -d 'also the last token, which opens the node: do not ask'
complete -c infernet-edge -n '__infernet_edge_at \'token revoke\'' -l config -r -F -d 'configuration, JSON or TOML'
complete -c infernet-edge -n '__infernet_edge_at \'token revoke\'' -l json -d 'print JSON'
complete -c infernet-edge -n '__infernet_edge_at \'reload\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'reload\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'reload\'' -l config -r -F -d 'configuration, JSON or TOML'
complete -c infernet-edge -n '__infernet_edge_at \'reload\'' -l json -d 'print JSON'
complete -c infernet-edge -n '__infernet_edge_at \'doctor\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'doctor\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'doctor\'' -l config -r -F -d 'configuration, JSON or TOML'
complete -c infernet-edge -n '__infernet_edge_at \'doctor\'' -l json -d 'print an object: name of the check -> level (ok, unknown, warning, problem), text, remedy, command, and the same of each of its findings'
complete -c infernet-edge -n '__infernet_edge_at \'backup\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'backup\'' -l with-secrets -d 'include keys, passwords, tokens and all files that the configuration names'
complete -c infernet-edge -n '__infernet_edge_at \'backup\'' -l force -d 'replace FILE if it exists'
complete -c infernet-edge -n '__infernet_edge_at \'backup\'' -l config -r -F -d 'configuration, JSON or TOML'
complete -c infernet-edge -n '__infernet_edge_at \'restore\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'restore\'' -l dry-run -d 'check the backup, and change nothing'
complete -c infernet-edge -n '__infernet_edge_at \'restore\'' -l config -r -F -d 'configuration, JSON or TOML'
complete -c infernet-edge -n '__infernet_edge_at \'export\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'export\'' -f -a 'kube quadlet'
complete -c infernet-edge -n '__infernet_edge_at \'export\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'export\'' -l config -r -F -d 'configuration, JSON or TOML'
complete -c infernet-edge -n '__infernet_edge_at \'export\'' -l name -x -d 'name of the node\'s objects'
complete -c infernet-edge -n '__infernet_edge_at \'export\'' -l image -x -d 'image with the node\'s executable'
complete -c infernet-edge -n '__infernet_edge_at \'export\'' -l show-env -d 'write the variables of containers (env)'
complete -c infernet-edge -n '__infernet_edge_at \'export\'' -l folder -x -d 'write files there instead of printing them'
complete -c infernet-edge -n '__infernet_edge_at \'export\'' -l force -d 'with --folder: replace files'
complete -c infernet-edge -n '__infernet_edge_at \'wallet\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'wallet\'' -f -a 'new' -d 'make a key and write it to a file'
complete -c infernet-edge -n '__infernet_edge_at \'wallet\'' -f -a 'import' -d 'import a key from a terminal, from stdin or from a file, never as an argument'
complete -c infernet-edge -n '__infernet_edge_at \'wallet\'' -f -a 'show' -d 'the account\'s address, its balance, and whether it is registered'
complete -c infernet-edge -n '__infernet_edge_at \'wallet\'' -f -a 'register' -d 'register with the coordinator of SDK 0.1'
complete -c infernet-edge -n '__infernet_edge_at \'wallet\'' -f -a 'activate' -d 'activate the registered account, so that it may deliver'
complete -c infernet-edge -n '__infernet_edge_at \'wallet\'' -f -a 'pay' -d 'The payment wallet is a contract of Infernet\'s wallet factory (SDK 1.x), named by chain.wallet.payment_address: the coordinator pays this node there, and locks money in it while a proof has no verdict'
complete -c infernet-edge -n '__infernet_edge_at \'wallet\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'wallet new\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'wallet new\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'wallet new\'' -l config -r -F -d 'configuration, JSON or TOML'
complete -c infernet-edge -n '__infernet_edge_at \'wallet new\'' -l output -r -F -d 'the file to write'
complete -c infernet-edge -n '__infernet_edge_at \'wallet new\'' -l password-file -r -F -d 'password to encrypt the key with'
complete -c infernet-edge -n '__infernet_edge_at \'wallet new\'' -l plain -d 'do not encrypt the key'
complete -c infernet-edge -n '__infernet_edge_at \'wallet import\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'wallet import\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'wallet import\'' -l config -r -F -d 'configuration, JSON or TOML'
complete -c infernet-edge -n '__infernet_edge_at \'wallet import\'' -l output -r -F -d 'the file to write'
complete -c infernet-edge -n '__infernet_edge_at \'wallet import\'' -l password-file -r -F -d 'password to encrypt the key with'
complete -c infernet-edge -n '__infernet_edge_at \'wallet import\'' -l plain -d 'do not encrypt the key'
complete -c infernet-edge -n '__infernet_edge_at \'wallet import\'' -l file -r -F -d 'a key in hex digits, or a keystore'
complete -c infernet-edge -n '__infernet_edge_at \'wallet import\'' -l old-password-file -r -F -d 'password of the keystore to import'
complete -c infernet-edge -n '__infernet_edge_at \'wallet show\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'wallet show\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'wallet show\'' -l config -r -F -d 'configuration, JSON or TOML'
complete -c infernet-edge -n '__infernet_edge_at \'wallet show\'' -l json -d 'print JSON'
complete -c infernet-edge -n '__infernet_edge_at \'wallet register\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'wallet register\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'wallet register\'' -l config -r -F -d 'configuration, JSON or TOML'
complete -c infernet-edge -n '__infernet_edge_at \'wallet activate\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'wallet activate\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'wallet activate\'' -l config -r -F -d 'configuration, JSON or TOML'
complete -c infernet-edge -n '__infernet_edge_at \'wallet pay\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'wallet pay\'' -f -a 'create' -d 'make a wallet that belongs to the node\'s account, and show what to configure'
complete -c infernet-edge -n '__infernet_edge_at \'wallet pay\'' -f -a 'show' -d 'show the owner, balances, locked amounts, and what proofs may lock'
complete -c infernet-edge -n '__infernet_edge_at \'wallet pay\'' -f -a 'approve' -d 'set what a spender may lock or spend'
complete -c infernet-edge -n '__infernet_edge_at \'wallet pay\'' -f -a 'withdraw' -d 'send money from the wallet to its owner, the node\'s account'
complete -c infernet-edge -n '__infernet_edge_at \'wallet pay\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'wallet pay create\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'wallet pay create\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'wallet pay create\'' -l config -r -F -d 'configuration, JSON or TOML'
complete -c infernet-edge -n '__infernet_edge_at \'wallet pay create\'' -l another -d 'make one even if the configuration names one'
complete -c infernet-edge -n '__infernet_edge_at \'wallet pay show\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'wallet pay show\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'wallet pay show\'' -l config -r -F -d 'configuration, JSON or TOML'
complete -c infernet-edge -n '__infernet_edge_at \'wallet pay show\'' -l token -x -d 'a token to show besides the coin and the containers\' accepted_payments'
complete -c infernet-edge -n '__infernet_edge_at \'wallet pay show\'' -l json -d 'print JSON'
complete -c infernet-edge -n '__infernet_edge_at \'wallet pay approve\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'wallet pay approve\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'wallet pay approve\'' -l config -r -F -d 'configuration, JSON or TOML'
complete -c infernet-edge -n '__infernet_edge_at \'wallet pay approve\'' -l spender -x -d 'who may spend it'
complete -c infernet-edge -n '__infernet_edge_at \'wallet pay approve\'' -l token -x -d 'an ERC-20 token'
complete -c infernet-edge -n '__infernet_edge_at \'wallet pay withdraw\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'wallet pay withdraw\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'wallet pay withdraw\'' -l config -r -F -d 'configuration, JSON or TOML'
complete -c infernet-edge -n '__infernet_edge_at \'wallet pay withdraw\'' -l yes -d 'do not ask for confirmation'
complete -c infernet-edge -n '__infernet_edge_at \'wallet pay withdraw\'' -l token -x -d 'an ERC-20 token'
complete -c infernet-edge -n '__infernet_edge_at \'help\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'help\'' -f -a 'quick-start api backup commands configuration containers events limits monitoring on-chain prometheus-rules requirements security service several-nodes troubleshooting'
complete -c infernet-edge -n '__infernet_edge_at \'help\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'help\'' -l json -d 'print JSON: topic, title, and text'
complete -c infernet-edge -n '__infernet_edge_at \'completion\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'completion\'' -f -a 'bash zsh fish'
complete -c infernet-edge -n '__infernet_edge_at \'completion\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'version\'' -f
complete -c infernet-edge -n '__infernet_edge_at \'version\'' -s h -l help -d 'show this help message'
complete -c infernet-edge -n '__infernet_edge_at \'version\'' -l json -d 'print JSON'
