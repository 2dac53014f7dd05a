// Numbers keep their digits.
import { el, options } from '../dom.js'
import { jsonError } from './json.js'

const SHORT = 80 // characters in one line
const json = JSON.stringify
const said = (text) => (typeof text === 'string' ? text : json(text))

export function read(text = 'null', isRough) {
	if (!isRough && !JSON.rawJSON && /\d{16}/.test(text)) return null
	try { return JSON.parse(text, (_, value, { source } = {}) => (typeof value === 'number' && JSON.rawJSON ? JSON.rawJSON(source) : value)) } catch { return null }
}

// A schema without its reference, and without "or null".
function plainly({ $ref, anyOf = [], ...rest }, root) {
	if ($ref) return { ...(/^#(\/|$)/.test($ref) && $ref.split('/').slice(1).reduce((at, step) => at?.[step], root)), ...rest }
	const some = anyOf.filter((one) => one.type !== 'null')
	return { ...(some.length === 1 && plainly(some[0], root)), ...rest }
}

// What a schema names, or the least that it accepts.
function least(schema, root, deep = 0) {
	const { const: only, default: usual = only, examples = [], enum: choices = [], anyOf = schema.anyOf, type = 'object', properties = {}, required = [], items = {}, minItems = 0, minLength = 1, minimum = 0 } = plainly(schema, root)
	const named = [usual, ...examples, ...choices].find((one) => one !== undefined)
	if (named !== undefined || deep > 9) return named
	const inner = (one = {}) => least(one, root, deep + 1)
	if (anyOf) return inner(anyOf[0])
	if (type === 'object') return Object.fromEntries(required.map((name) => [name, inner(properties[name])]))
	return { string: 'x'.repeat(Math.min(999, json(minLength))), boolean: false, array: Array(Math.min(99, json(minItems))).fill(inner(items)) }[type] ?? minimum
}
export const samplesOf = (schema) => [...(schema.examples || []), least({ ...schema, examples: [] }, schema)].map((one) => json(one, null, 2))

// The nodes for an object and its text, or null where a form cannot express it. `outer`: is the object around it needed?
function form(schema, given, change, root = schema, outer = null) {
	const { properties, required = [] } = plainly(schema, root)
	if (!properties || !/^{/.test(json(given)) || Object.keys(given).some((name) => !Object.hasOwn(properties, name))) return null
	const fields = Object.entries(properties).map(([name, each]) => [name, ...field(name, plainly(each, root), Object.hasOwn(given, name) ? given[name] : undefined, required.includes(name))])
	return [fields.map((one) => one[1]), () => `{${fields.map(([name, , text]) => [json(name), text()]).filter((one) => one[1]).map((one) => one.join(': ')).join(', ')}}`]

	function field(name, schema, value = schema.default ?? undefined, isNeeded) {
		const label = `${said(schema.title) || name}${isNeeded ? ' *' : ''}`
		const about = said(schema.description)
		const head = [label, about && el('small', about)]
		const inner = outer === null && form(schema, value === undefined ? {} : value, change, root, isNeeded)
		if (inner) return [el('fieldset', el('legend', head), inner[0]), () => (isNeeded || inner[1]() !== '{}') && inner[1]()]
		const raw = value === undefined ? '' : json(value)
		const type = [schema.type].flat().find((one) => one !== 'null')
		const choices = schema.enum || (type === 'boolean' && [true, false])
		const isText = !choices && type === 'string' && /^("|$)/.test(raw)
		const isNumber = /number|integer/.test(type) && /^([-\d]|$)/.test(raw)
		const props = { label, 'aria-description': about, oninput, required: isNeeded && outer !== false && (!isText || +json(schema.minLength)) }
		const most = json(schema.maxLength)
		if (isText) props.minlength = json(schema.minLength)
		const control = choices ? el('select', props, options(['', ...choices.map((one) => json(one))].map((one) => [one]), raw))
			: isNumber ? el('input', { ...props, type: 'number', min: json(schema.minimum), max: json(schema.maximum), step: type === 'integer' ? 1 : 'any' })
				: el(isText && most <= SHORT ? 'input' : 'textarea', { ...props, rows: 2, placeholder: isText ? '' : 'JSON' })
		if (!choices) control.value = isText ? value ?? '' : raw
		function oninput() {
			control.setCustomValidity(isText ? ([...control.value].length > most ? `At most ${most} characters` : '') : text() && jsonError(text()))
			change()
		}
		const text = () => (isText ? (isNeeded || control.value || raw === '""') && json(control.value) : control.value.trim().replace(/^(-?)(?=\.)/, '$10'))
		return [el('label', head, control), text]
	}
}
export const formOf = (schema, input, change) => form(schema, read(input), change)
