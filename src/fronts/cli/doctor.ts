/** `stillpoint doctor`: what this machine lacks to run the service, and the command that puts it right. Changes nothing. */
import { styleText } from 'node:util';
import { type CliCommand, type CliInvocation, positionalsOf } from './command.ts';
import { exitCodes } from './exit-codes.ts';
import { printJson } from './output.ts';

export interface Finding {
  /** What was looked at: `qemu-img`, `state directory`. */
  readonly check: string;
  readonly ok: boolean;
  /** What was found, one line. */
  readonly detail: string;
  /** The command or change that puts it right; only with `ok: false`. */
  readonly fix?: string;
}

/** `examine` is given by the composition root, which knows what the service needs of its machine. */
export function createDoctor(examine: (invocation: CliInvocation) => Promise<readonly Finding[]>): CliCommand {
  return {
    path: ['doctor'],
    summary: 'say what this machine lacks, and the command that fixes it',
    usage: '',
    options: {},
    async run(invocation) {
      positionalsOf(invocation);
      const findings = await examine(invocation);
      if (invocation.format === 'json') printJson(invocation, findings);
      else for (const line of report(findings, invocation.color)) invocation.out(line);
      return findings.every(({ ok }) => ok) ? exitCodes.ok : exitCodes.failure;
    },
  };
}

function report(findings: readonly Finding[], color: boolean): string[] {
  const width = Math.max(...findings.map(({ check }) => check.length));
  const mark = (ok: boolean) => {
    const text = ok ? 'ok     ' : 'MISSING';
    return color ? styleText(ok ? 'green' : 'red', text, { validateStream: false }) : text;
  };
  const lines = findings.map(({ check, ok, detail }) => `${mark(ok)}  ${check.padEnd(width)}  ${detail}`);
  const fixes = [...new Set(findings.flatMap(({ fix }) => (fix === undefined ? [] : [fix])))];
  return fixes.length === 0 ? lines : [...lines, '', 'To put it right:', ...fixes.map((fix) => `  ${fix}`)];
}
