/** The texts of `stillpoint help`. */
import type { CliCommand, CliOptions } from './command.ts';
import { exitCodeMeanings } from './exit-codes.ts';

export const programName = 'stillpoint';

/** Options that every command takes. */
export const globalOptions = {
  'state-dir': { type: 'string', placeholder: 'DIR', help: 'state directory of the local service (default: STILLPOINT_STATE_DIR)' },
  'os-cloud': { type: 'string', placeholder: 'NAME', help: 'cloud in clouds.yaml to speak to (default: OS_CLOUD)' },
  format: { type: 'string', short: 'f', placeholder: 'table|json', help: 'how results are printed (default: table)' },
  help: { type: 'boolean', short: 'h', help: 'show this help' },
  version: { type: 'boolean', help: 'show the version' },
} as const satisfies CliOptions;

export function overview(commands: readonly CliCommand[]): string {
  const rows = [...commands]
    .sort((a, b) => wordsOf(a).localeCompare(wordsOf(b)))
    .map((command) => [wordsOf(command), command.summary] as const);
  return [
    `Usage: ${programName} COMMAND [ARGUMENTS]`,
    '',
    'Commands:',
    ...aligned([...rows, ['help COMMAND', 'explain a command']]),
    '',
    'Options of every command:',
    ...aligned(optionRows(globalOptions)),
    '',
    'Exit codes:',
    ...aligned(exitCodeMeanings.map(([code, meaning]) => [String(code), meaning])),
  ].join('\n');
}

export function commandHelp(command: CliCommand): string {
  const own = optionRows(command.options);
  return [
    `Usage: ${programName} ${wordsOf(command)} ${command.usage}`.trimEnd(),
    '',
    command.description ?? `${command.summary[0]?.toUpperCase()}${command.summary.slice(1)}.`,
    ...(own.length === 0 ? [] : ['', 'Options:', ...aligned(own)]),
    '',
    'Options of every command:',
    ...aligned(optionRows(globalOptions)),
  ].join('\n');
}

export const wordsOf = (command: CliCommand): string => command.path.join(' ');

function optionRows(options: CliOptions): (readonly [string, string])[] {
  return Object.entries(options).map(([name, option]) => {
    const value = option.type === 'string' ? ` ${option.placeholder ?? 'VALUE'}` : '';
    return [`${option.short === undefined ? '' : `-${option.short}, `}--${name}${value}`, option.help];
  });
}

function aligned(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`);
}
