#!/usr/bin/env node
// Runs cdk-nag's packs AwsSolutions, Serverless and NIST 800-53 r5 over synthesized templates:
//
//   node .ci/nag/nag.mjs TEMPLATE...
//
// Every finding must be in acknowledged.json with its rule, its resource (the logical id without CDK's hash) and the
// reason why it stands. It exits with 1 on a finding that is not there and on an entry that no template needs.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const require = createRequire(import.meta.url);
const { App, Stack } = require('aws-cdk-lib');
const { CfnInclude } = require('aws-cdk-lib/cloudformation-include');
const { AwsSolutionsChecks, NIST80053R5Checks, ServerlessChecks } = require('cdk-nag');

const acknowledgedFile = fileURLToPath(new URL('acknowledged.json', import.meta.url));

// findings are those of one template file: [{ rule, resource, text, thrown }]. A rule that throws is a finding too.
export function findings(templateFile) {
  const stack = new Stack(new App({ analyticsReporting: false }), 'nag');
  const template = new CfnInclude(stack, 'template', { templateFile });
  return [AwsSolutionsChecks, ServerlessChecks, NIST80053R5Checks].flatMap((Pack) =>
    new Pack(undefined, { verbose: true }).validateScope(template).violations.flatMap(({ ruleName, description, violatingResources }) =>
      violatingResources.map(({ constructPath }) => ({
        rule: ruleName,
        resource: constructPath.split('/').at(-1).replace(/[0-9A-F]{8}$/, ''),
        text: description,
        thrown: description.startsWith('Rule threw an error'),
      }))));
}

// judge compares findings with acknowledgements and returns what is wrong, one text each.
export function judge(found, acknowledged) {
  const key = ({ rule, resource }) => `${rule} at ${resource}`;
  const wrong = [];
  const needed = new Map();
  for (const entry of acknowledged) {
    if (!entry.rule || !entry.resource || !entry.reason?.trim()) {
      wrong.push(`acknowledged.json: ${JSON.stringify(entry)} lacks rule, resource or reason: give all three`);
    } else if (needed.has(key(entry))) {
      wrong.push(`acknowledged.json: ${key(entry)} is there twice: remove one`);
    }
    needed.set(key(entry), false);
  }
  for (const finding of found) {
    if (finding.thrown) {
      wrong.push(`${key(finding)} could not be judged: ${finding.text}`);
    } else if (needed.has(key(finding))) {
      needed.set(key(finding), true);
    } else {
      wrong.push(`${key(finding)}: ${finding.text}\n    Mend it, or acknowledge it in .ci/nag/acknowledged.json with the reason why it stands.`);
    }
  }
  for (const [entry, used] of needed) {
    if (!used) {
      wrong.push(`acknowledged.json: ${entry} is no finding of any template: remove it`);
    }
  }
  return wrong;
}

export const acknowledged = () => JSON.parse(readFileSync(acknowledgedFile, 'utf8'));

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const files = process.argv.slice(2);
  if (files.length === 0) {
    console.error('usage: node .ci/nag/nag.mjs TEMPLATE...');
    process.exit(2);
  }
  const found = files.flatMap(findings);
  const wrong = judge(found, acknowledged());
  wrong.forEach((text) => console.error(`nag: ${text}`));
  console.log(`nag: ${files.length} templates, ${found.length} findings, ${acknowledged().length} acknowledgements, ${wrong.length} problems`);
  process.exit(wrong.length > 0 ? 1 : 0);
}
