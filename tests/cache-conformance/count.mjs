// Counts results of the suite strictly: a test whose dependency failed, or whose setup did, counts as failed. Tests for
// browsers only are left out. Usage: count.mjs SUITE RESULTS.json [--table]
import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const BAR = { required: 150, optimal: 75 }
const [suite, own, table] = process.argv.slice(2)
const load = file => import(pathToFileURL(path.join(suite, file)).href)
const tests = (await load('tests/index.mjs')).default
const { determineTestResult, resultTypes } = await load('test-engine/lib/results.mjs')
const read = file => JSON.parse(fs.readFileSync(file, 'utf8'))
const all = tests.flatMap(group => group.tests).filter(test => !test.browser_only)
const kind = test => test.kind ?? 'required'
const passed = (test, results) => {
  const verdict = determineTestResult(tests, test.id, results)
  return verdict === resultTypes.pass || verdict === resultTypes.yes
}
const count = results => {
  const of = wanted => all.filter(test => kind(test) === wanted)
  const number = wanted => of(wanted).filter(test => passed(test, results)).length
  return { required: number('required'), optimal: number('optimal') }
}
const total = wanted => all.filter(test => kind(test) === wanted).length

const results = read(own)
const mine = count(results)
if (table) {
  const published = (await load('results/index.mjs')).default.filter(one => one.type !== 'browser')
  const rows = published.map(one => [`${one.name} ${one.version}`, count(read(path.join(suite, 'results', one.file)))])
  rows.push(['**Tollgate**', mine])
  rows.sort((one, other) => other[1].required - one[1].required || other[1].optimal - one[1].optimal)
  console.log(`| | required (of ${total('required')}) | optimal (of ${total('optimal')}) |\n|---|---|---|`)
  for (const [name, { required, optimal }] of rows) console.log(`| ${name} | ${required} | ${optimal} |`)
}
console.log(`\nrequired: ${mine.required} of ${total('required')}, optimal: ${mine.optimal} of ${total('optimal')}`)
for (const test of all.filter(test => kind(test) !== 'check' && !passed(test, results))) {
  const [, why] = results[test.id] === true ? [, 'a test that it depends on failed'] : results[test.id]
  console.log(`  not passed: ${test.id} (${kind(test)}): ${why}`)
}
process.exit(mine.required >= BAR.required && mine.optimal >= BAR.optimal ? 0 : 1)
