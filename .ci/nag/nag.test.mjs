// The check can fail: each test plants one fault into a golden template or into the acknowledgements.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { acknowledged, findings, judge } from './nag.mjs';

const golden = ['ordered', 'unordered'].map((variant) =>
  fileURLToPath(new URL(`../../constructs/testdata/${variant}.template.json`, import.meta.url)));
const folder = mkdtempSync(join(tmpdir(), 'nag-'));
after(() => rmSync(folder, { recursive: true }));

// unencrypted: SQS encrypts with a key of its own where nothing is said.
const unencrypted = (queue) => { delete queue.KmsMasterKeyId; queue.SqsManagedSseEnabled = false; };

// mutant is the first golden template after change was done to the properties of the resource whose id begins so.
function mutant(id, change) {
  const template = JSON.parse(readFileSync(golden[0], 'utf8'));
  const ids = Object.keys(template.Resources).filter((name) => name.replace(/[0-9A-F]{8}$/, '') === id);
  assert.equal(ids.length, 1, `resources called ${id}: ${ids}`);
  change(template.Resources[ids[0]].Properties);
  const file = join(folder, 'template.json');
  writeFileSync(file, JSON.stringify(template));
  return file;
}

test('the library is of the version that the construct is built with', () => {
  const goMod = readFileSync(new URL('../../go.mod', import.meta.url), 'utf8');
  const { devDependencies } = JSON.parse(readFileSync(new URL('package.json', import.meta.url), 'utf8'));
  assert.equal(devDependencies['aws-cdk-lib'], goMod.match(/aws-cdk-go\/awscdk\/v2 v(\S+)/)[1]);
});

test('the golden templates pass', () => {
  assert.deepEqual(judge(golden.flatMap(findings), acknowledged()), []);
});

for (const [name, id, change, rule] of [
  ['an unencrypted queue', 'MarketDataQueue', unencrypted, 'AwsSolutions-SQS2'],
  ['an unencrypted topic', 'MarketDataAlertTopic', (p) => delete p.KmsMasterKeyId, 'NIST.800.53.R5-SNSEncryptedKMS'],
  ['a queue without a dead-letter queue', 'MarketDataQueue', (p) => delete p.RedrivePolicy, 'Serverless-SQSRedrivePolicy'],
  ['a table without recovery', 'MarketDataAlertsTable', (p) => delete p.PointInTimeRecoverySpecification, 'NIST.800.53.R5-DynamoDBPITREnabled'],
  ['a function without tracing', 'MarketDataFunction', (p) => delete p.TracingConfig, 'Serverless-LambdaTracing'],
  ['an alarm without an action', 'MarketDataDeadLettersAlarm', (p) => delete p.AlarmActions, 'NIST.800.53.R5-CloudWatchAlarmAction'],
  ['a key that does not rotate', 'MarketDataKey', (p) => { p.EnableKeyRotation = false; }, 'AwsSolutions-KMS5'],
  ['another wildcard', 'MarketDataRole', (p) => { p.Policies[0].PolicyDocument.Statement[0].Action = 'sqs:*'; }, 'AwsSolutions-IAM5[Action::sqs:*]'],
]) {
  test(`${name} fails`, () => {
    const wrong = judge(findings(mutant(id, change)), acknowledged());
    assert.ok(wrong.some((text) => text.startsWith(`${rule} at ${id}:`)), `no ${rule} in ${JSON.stringify(wrong)}`);
  });
}

const finding = { rule: 'R', resource: 'Q', text: 'why', thrown: false };
for (const [name, found, entries, want] of [
  ['acknowledged', [finding], [{ rule: 'R', resource: 'Q', reason: 'so' }], []],
  ['in both templates', [finding, finding], [{ rule: 'R', resource: 'Q', reason: 'so' }], []],
  ['at another resource', [finding], [{ rule: 'R', resource: 'P', reason: 'so' }], [/^R at Q: why\n/, /R at P is no finding/]],
  ['unused', [], [{ rule: 'R', resource: 'Q', reason: 'so' }], [/R at Q is no finding/]],
  ['twice', [finding], [{ rule: 'R', resource: 'Q', reason: 'so' }, { rule: 'R', resource: 'Q', reason: 'so' }], [/twice/]],
  ['without a reason', [finding], [{ rule: 'R', resource: 'Q', reason: ' ' }], [/lacks rule, resource or reason/]],
  ['thrown', [{ ...finding, thrown: true }], [], [/^R at Q could not be judged/]],
]) {
  test(`judge: ${name}`, () => {
    const wrong = judge(found, entries);
    assert.equal(wrong.length, want.length, JSON.stringify(wrong));
    want.forEach((pattern, i) => assert.match(wrong[i], pattern));
  });
}

test('the command exits with 1 on a problem, 2 without a template', () => {
  const nag = (...args) => spawnSync(process.execPath, [fileURLToPath(new URL('nag.mjs', import.meta.url)), ...args], { encoding: 'utf8' });
  const bad = nag(mutant('MarketDataQueue', unencrypted));
  assert.equal(bad.status, 1);
  assert.match(bad.stderr, /AwsSolutions-SQS2 at MarketDataQueue/);
  assert.equal(nag(...golden).status, 0);
  assert.equal(nag().status, 2);
});
