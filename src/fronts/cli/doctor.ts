/**
 * `stillpoint doctor`: what this machine lacks to run the service, and the command that puts it right. Changes nothing. With `--disks` it asks the running
 * service about its disks instead (`doctor-disks.ts`).
 */
import { styleText } from 'node:util';
import { type CliCommand, type CliInvocation, flagOption, positionalsOf } from './command.ts';
import { runDoctorDisks } from './doctor-disks.ts';
import { exitCodes, usageError } from './exit-codes.ts';
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
    summary: 'say what this machine lacks, and the command that fixes it; or what is wrong with the disks',
    usage: '[--disks [--repair] [--deep] [--restore ITEM]]',
    description: [
      'Without options: looks at this machine and changes nothing. With --disks: has the running service compare its disks with its database, in both',
      'directions, and says what is wrong, whom it concerns and what to do. Exits with 0 when nothing is, with 6 when data is missing or damaged,',
      'with 1 when something else is wrong.',
      '',
      '  stillpoint doctor --disks                     look, change nothing',
      '  stillpoint doctor --disks --repair            do what is safe; what nobody knows goes to the trash, nothing is deleted',
      '  stillpoint doctor --disks --deep              also read the structures inside of layers (a sample of a hundred)',
      '  stillpoint doctor --disks --restore LAYER     take a layer back out of the trash',
    ].join('\n'),
    options: {
      disks: { type: 'boolean', help: 'compare the disks of the running service with its database' },
      repair: { type: 'boolean', help: 'with --disks: do what is safe' },
      deep: { type: 'boolean', help: 'with --disks: read the structures inside of layers, too' },
      restore: { type: 'string', help: 'with --disks: take this out of the trash', placeholder: 'ITEM' },
      json: { type: 'boolean', help: 'the same as --format json' },
    },
    async run(invocation) {
      positionalsOf(invocation);
      if (flagOption(invocation, 'disks')) return await runDoctorDisks(invocation);
      const stray = ['repair', 'deep', 'restore'].find((name) => invocation.values[name] !== undefined);
      if (stray !== undefined) throw usageError(`--${stray} goes with --disks`);
      const findings = await examine(invocation);
      if (invocation.format === 'json' || flagOption(invocation, 'json')) printJson(invocation, findings);
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
