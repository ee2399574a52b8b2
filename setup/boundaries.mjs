/** Checks the rules of .dependency-cruiser.mjs; `npm run check` runs it on src/, and a test runs it on trees that break each rule. */
import { pathToFileURL } from 'node:url';
import { cruise } from 'dependency-cruiser';
import configuration from '../.dependency-cruiser.mjs';
import { root } from './node.mjs';

/** What breaks a rule in the `src` folder below `baseDir`, and how many files were looked at. */
export async function checkBoundaries(baseDir) {
  const { forbidden, options } = configuration;
  // Handed over separately: resolving is no part of the rules.
  const { enhancedResolveOptions, ...others } = options;
  const ruleSet = { forbidden };
  const { output } = await cruise(['src'], { ...others, baseDir, validate: true, ruleSet }, enhancedResolveOptions);
  const { violations, totalCruised } = output.summary;
  return { violations: violations.map(({ rule, from, to }) => ({ rule: rule.name, from, to })), fileCount: totalCruised };
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { violations, fileCount } = await checkBoundaries(root);
  for (const { rule, from, to } of violations) {
    const { comment } = configuration.forbidden.find(({ name }) => name === rule);
    process.stdout.write(`${from}${to === from ? '' : ` -> ${to}`}\n  ${rule}: ${comment}\n`);
  }
  process.stdout.write(`${violations.length} broken rules in ${fileCount} files\n`);
  // A parser that reads nothing finds nothing wrong.
  process.exitCode = violations.length === 0 && fileCount > 0 ? 0 : 1;
}
