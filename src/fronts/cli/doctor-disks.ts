/**
 * `stillpoint doctor --disks`: asks the service to compare its disks with its database, and says what is wrong in a way that can be read at three in the
 * morning: what, whom it concerns, what to do.
 */
import { styleText } from 'node:util';
import { type ApiClient, connect } from './client.ts';
import { type CliInvocation, flagOption, textOption } from './command.ts';
import { type ExitCode, exitCodes, usageError } from './exit-codes.ts';
import { type Job, watchJob } from './job-watch.ts';
import { formatBytes, printable, printJson } from './output.ts';

interface Affected {
  readonly type: string;
  readonly id: string;
  readonly name: string | null;
}

export interface DiskFinding {
  readonly kind: string;
  readonly subject: string;
  readonly severity: 'error' | 'warning' | 'notice';
  readonly detail: string;
  readonly advice: string;
  readonly commands: readonly string[];
  readonly affected: readonly Affected[];
  readonly done: string | null;
  readonly repaired: boolean;
}

export interface DiskReport {
  readonly took_ms: number;
  readonly looked: { readonly layer_rows: number; readonly layer_files: number; readonly servers: number; readonly deep_layers: number };
  readonly findings: readonly DiskFinding[];
  readonly unlisted: number;
  readonly trash: { readonly count: number; readonly bytes: number };
}

const affectedShown = 10;
const widthMax = 100;

export async function runDoctorDisks(invocation: CliInvocation): Promise<ExitCode> {
  const api = await connect(invocation);
  const item = textOption(invocation, 'restore');
  return item === undefined ? await check(invocation, api) : await restore(invocation, api, item);
}

const wantsJson = (invocation: CliInvocation): boolean => invocation.format === 'json' || flagOption(invocation, 'json');

async function check(invocation: CliInvocation, api: ApiClient): Promise<ExitCode> {
  const body = { repair: flagOption(invocation, 'repair'), deep: flagOption(invocation, 'deep') };
  const { job } = await api.call<{ job: Job }>('native', 'POST', '/disks/check', { body });
  await watchJob(invocation, api, job.id, 'checking the disks');
  const { report } = await api.call<{ report: DiskReport }>('native', 'GET', `/disks/check/${job.id}`);
  if (wantsJson(invocation)) printJson(invocation, report);
  else for (const line of reportLines(report, { color: invocation.color, repair: body.repair })) invocation.out(line);
  return exitCodeOf(report);
}

/** What is still wrong decides: damage, something else, or nothing. */
function exitCodeOf({ findings, unlisted }: DiskReport): ExitCode {
  const open = findings.filter(({ repaired, severity }) => !repaired && severity !== 'notice');
  if (open.some(({ severity }) => severity === 'error')) return exitCodes.corrupted;
  return open.length > 0 || unlisted > 0 ? exitCodes.failure : exitCodes.ok;
}

async function restore(invocation: CliInvocation, api: ApiClient, item: string): Promise<ExitCode> {
  if (flagOption(invocation, 'repair') || flagOption(invocation, 'deep')) throw usageError('--restore stands alone');
  const path = `/disks/trash/${encodeURIComponent(item)}/restore`;
  const { item: restored } = await api.call<{ item: { name: string; place: string | null; known: boolean } }>('native', 'POST', path);
  if (wantsJson(invocation)) printJson(invocation, restored);
  else {
    invocation.out(`Taken out of the trash: ${restored.place ?? restored.name}`);
    if (!restored.known)
      invocation.out(
        'No volume uses it. It stays there, and checks leave it alone, until you remove it. Copy its content: qemu-img convert.',
      );
  }
  return exitCodes.ok;
}

/** The report for people. */
export function reportLines(report: DiskReport, { color, repair }: { color: boolean; repair: boolean }): string[] {
  const { findings, unlisted, looked, trash } = report;
  const deep = looked.deep_layers === 0 ? '' : `, ${looked.deep_layers} of them read from end to end`;
  const lines = [
    `Looked at ${counted(looked.layer_files, 'layer')}${deep}, and at ${counted(looked.servers, 'server')}, in ${(report.took_ms / 1000).toFixed(1)} s.`,
    ...findings.flatMap((finding) => ['', ...findingLines(finding, color)]),
  ];
  if (unlisted > 0) lines.push('', `… and ${unlisted} more of the same kinds.`);
  if (trash.count > 0) lines.push('', `The trash holds ${counted(trash.count, 'item')} (${formatBytes(trash.bytes)}).`);
  return [...lines, '', ...summary(findings, unlisted, repair)];
}

const marks = {
  error: ['ERROR', 'red'],
  warning: ['WARNING', 'yellow'],
  notice: ['NOTICE', 'cyan'],
  repaired: ['REPAIRED', 'green'],
} as const;

function findingLines({ severity, repaired, kind, detail, advice, commands, affected, done }: DiskFinding, color: boolean): string[] {
  const [word, tint] = marks[repaired ? 'repaired' : severity];
  const mark = color ? styleText([tint, 'bold'], word, { validateStream: false }) : word;
  const names = affected.slice(0, affectedShown).map(({ type, id, name }) => (name ? `${type} ${name} (${id})` : `${type} ${id}`));
  if (affected.length > affectedShown) names.push(`and ${affected.length - affectedShown} more`);
  return [
    `${mark}  ${kind}`,
    ...wrapped('what', detail),
    ...names.map((name, index) => labelled(index === 0 ? 'affects' : '', name)),
    ...(done === null ? [] : wrapped('done', done)),
    // A command is a line of its own, to be copied as it is.
    ...(repaired ? [] : [...wrapped('do', advice), ...commands.map((command) => labelled('', `  ${command}`))]),
  ];
}

const labelled = (label: string, text: string): string => `  ${label.padEnd(8)}${printable(text)}`;

/** Lines that fit a terminal. What has no blanks (paths, commands in a script) stays whole. */
function wrapped(label: string, text: string): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last === undefined || last.length + 1 + word.length > widthMax) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines.map((line, index) => labelled(index === 0 ? label : '', line));
}

function summary(findings: readonly DiskFinding[], unlisted: number, repair: boolean): string[] {
  const open = findings.filter(({ repaired, severity }) => !repaired && severity !== 'notice');
  const errors = open.filter(({ severity }) => severity === 'error').length;
  const repaired = findings.filter((finding) => finding.repaired).length;
  const said = repaired === 0 ? '' : ` ${counted(repaired, 'thing')} repaired.`;
  if (open.length + unlisted === 0) return [`Nothing is wrong.${said}`];
  const danger = errors === 0 ? 'no data in danger' : `data in danger in ${errors === 1 ? 'one' : errors} of them`;
  const wrong = `${counted(open.length + unlisted, 'thing')} wrong, ${danger}.${said}`;
  return repair
    ? [wrong]
    : [wrong, 'What is safe to repair: stillpoint doctor --disks --repair (moves files to the trash, deletes nothing).'];
}

const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;
