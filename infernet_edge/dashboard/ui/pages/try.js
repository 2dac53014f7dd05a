import { keep, kept, textOf } from '../api.js'
import { button, el, fill, names, note, options, plain } from '../dom.js'
import { node, on } from '../live.js'
import { chip, may, pageHead } from '../parts/chip.js'
import { formOf, read, samplesOf } from '../parts/form.js'
import { jsonError } from '../parts/json.js'
import { runner } from '../parts/runner.js'
import { copy } from '../parts/toast.js'
import { curl } from './job.js'

const [LAST, LONGEST, STEPS, CHECK] = [20, 32000, 10, 500]

export default function tryIt(main, _id, query) {
	const wanted = query.get('container')
	const { containers = kept('tried', []), input } = node.draft || {}
	let chosen = wanted ? [wanted] : containers
	let known
	let shown // the form, as [nodes, text]
	let drawn // its schema
	let asJson = false
	const schemas = {}
	const steps = el('div.chosen')
	const state = el('div')
	const last = el('select', { label: 'My last inputs', onchange: pick })
	const samples = el('select', { label: 'Samples', onchange: () => take(samples.value) })
	const text = el('textarea', { rows: 12, spellcheck: 'false', label: 'Input as JSON', 'aria-describedby': 'jsonError', value: containers[0] === chosen[0] && input || '{}', oninput: () => { clearTimeout(typing); typing = setTimeout(check, CHECK) } })
	let typing = 0
	const box = el('div.form')
	const kind = button('', () => {
		clearTimeout(typing)
		asJson = !!shown
		express()
		if (!asJson && !shown && check()) wrong.textContent = 'The form cannot show all of this.'
	})
	const wrong = el('p.invalid', { id: 'jsonError', role: 'status' })
	const runs = button(['Run ', el('kbd', 'Ctrl Enter')], () => run(false), { class: 'button main' })
	const streams = button('Stream', () => run(true))
	const result = el('section.card.body', { label: 'Result' }, note('The result is shown here.'))
	const bar = el('div.runbar', may('submit') ? [runs, streams] : note('Jobs need a token with the scope submit.'), button('Copy as curl', () => { if (check()) copy(curl(chosen, text.value)) }))
	main.append(pageHead('Try it'), el('div.half', el('section.card.body', { label: 'Input' }, el('div.chosen', steps, state, kind), el('div.chosen', samples, last), box, text, wrong, bar), result))
	const running = runner(result)

	function draw() {
		known = node.overview.containers
		const ids = known.map((one) => one.id)
		chosen = chosen.filter((id) => ids.includes(id))
		if (!chosen.length) chosen = ids.slice(0, 1)
		const step = (id, at) => [at > 0 && '→', el('select', { label: `Container of step ${at + 1}`, onchange: (event) => pickStep(event.target, at) }, options(ids.map((each) => [each]), id))]
		fill(steps, chosen.map(step), ids.length ? null : note('No containers yet: the overview says how to add one.'),
			chosen.length < STEPS && button('+ step', () => { chosen.push(chosen[0]); draw() }), chosen.length > 1 && button('− step', () => { chosen.pop(); draw() }))
		about()
		const past = kept('last', [])
		last.hidden = !past.length
		fill(last, options([['', 'My last inputs'], ...past.map((one, at) => [at, `${names(one.containers)}: ${plain(one.input, 40)}`]), ['clear', 'Forget them']]))
	}
	function pickStep(select, at) {
		chosen[at] = select.value
		if (shown && !at) text.value = '{}'
		for (const option of select.options) option.toggleAttribute('selected', option.selected)
		about()
		express()
	}
	// As a form, where one can express the input.
	function express() {
		drawn = schemas[chosen[0]]
		const schema = read(drawn)
		samples.hidden = !schema
		fill(samples, options([['', 'Samples'], ...(schema ? samplesOf(schema) : []).map((one) => [one, plain(one.replace(/\s+/g, ' '), 40)])]))
		const made = (input) => schema && formOf(schema, input, () => { text.value = shown[1]() })
		shown = !asJson && made(text.value)
		kind.hidden = !made('{}')
		kind.textContent = shown ? 'As JSON' : 'As a form'
		wrong.textContent = ''
		text.hidden = shown
		box.replaceChildren(...(shown?.[0] || []))
		if (shown) text.value = shown[1]()
	}
	function about() {
		const first = known.find((one) => one.id === chosen[0])
		fill(state, first && chip(first.state))
		runs.disabled = !first
		streams.disabled = chosen.length !== 1
		streams.title = chosen.length > 1 ? 'A chain cannot be streamed' : ''
	}

	function pick() {
		if (last.value === 'clear') keep('last', null)
		const one = kept('last', [])[last.value]
		last.value = ''
		if (one) chosen = one.containers
		draw()
		take(one?.input)
	}
	function take(input) {
		samples.value = ''
		if (input) {
			text.value = input
			check()
		}
		express()
	}

	function check() {
		const found = jsonError(text.value) || (text.value.trim()[0] === '{' ? '' : 'An object is expected: { … }')
		wrong.textContent = found
		text.setAttribute('aria-invalid', String(!!found))
		return [...box.querySelectorAll('input,select,textarea')].every((one) => one.reportValidity()) && !found
	}

	function run(isStream) {
		if (!check()) return text.focus()
		const input = text.value
		keep('tried', chosen)
		if (input.length <= LONGEST) keep('last', [{ containers: chosen, input }, ...kept('last', []).filter((one) => one.input !== input)].slice(0, LAST))
		draw()
		running.run([...chosen], input, isStream)
		if (innerWidth < 1100) result.scrollIntoView({ block: 'start' })
	}
	const keys = (event) => {
		if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey) || runs.disabled || !may('submit')) return
		event.preventDefault()
		run(false)
	}
	main.addEventListener('keydown', keys)

	draw()
	const learn = () => textOf('api/containers').then((found) => {
		for (const one of read(found, 1).items) schemas[one.id] = JSON.stringify(one.input_schema)
		if (schemas[chosen[0]] !== drawn) express()
	}, () => {})
	learn()
	const off = on('load', () => { draw(); learn() })
	return {
		end() {
			node.draft = { containers: chosen, input: text.value }
			off()
			running.end()
			main.removeEventListener('keydown', keys)
		},
	}
}
