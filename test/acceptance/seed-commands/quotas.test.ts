import { expect, it } from 'vitest';
import { cloudForCommands } from '../../support/command-lines.ts';

/** Each command on quotas and limits that people use, with the unmodified clients: exit codes and fields. */

const { on } = await cloudForCommands();

it('quota set, and quota show', async () => {
  await on.succeed('project create other');
  await on.succeed('quota set --volumes 7 --snapshots 8 --gigabytes 90 --backups 3 --backup-gigabytes 40 --per-volume-gigabytes 20 other');
  expect(await on.json('quota show other')).toMatchObject({
    volumes: 7,
    snapshots: 8,
    gigabytes: 90,
    backups: 3,
    'backup-gigabytes': 40,
    'per-volume-gigabytes': 20,
  });
  expect((await on.json('quota show')).volumes).not.toBe(7);
  expect((await on.json('quota show --default other')).volumes).not.toBe(7);
  expect(await on.refused('quota set --volumes -2 other')).toContain('volumes');
});

it('quota list --volume', async () => {
  const { id } = await on.json('project show other');
  const listed = await on.json('quota list --volume');
  expect(listed).toContainEqual(expect.objectContaining({ 'Project ID': id, Volumes: 7, Snapshots: 8, Gigabytes: 90, Backups: 3 }));
});

it('cinder quota-show, quota-usage and quota-delete', async () => {
  const { id } = await on.json('project show other');
  expect((await on.cinder(`quota-show ${id}`))[0]).toMatchObject({ volumes: '7', gigabytes: '90' });
  expect(await on.cinder(`quota-usage ${id}`)).toContainEqual({ Type: 'volumes', In_use: '0', Reserved: '0', Limit: '7', Allocated: '' });
  await on.cinder(`quota-delete ${id}`);
  expect((await on.cinder(`quota-show ${id}`))[0]?.volumes).not.toBe('7');
});

it('limits show --absolute, and cinder absolute-limits', async () => {
  const listed = await on.json('limits show --absolute');
  const names = listed.map(({ Name }: { Name: string }) => Name);
  expect(names).toEqual(expect.arrayContaining(['maxTotalVolumes', 'totalVolumesUsed', 'maxTotalBackups', 'maxTotalInstances']));
  const cindered = await on.cinder('absolute-limits');
  expect(cindered).toContainEqual({ Name: 'totalVolumesUsed', Value: '0' });
});
