import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createEvents, type Events, eventChannel } from '../../src/cloud/events/service.ts';
import { type TestDatabase, testDatabase } from '../support/database.ts';

let held: TestDatabase;
let events: Events;

beforeEach(async () => {
  held = await testDatabase();
  events = createEvents({ database: held.database });
});

afterEach(() => held.drop());

const record = (resourceId: string, projectId = 'p'): Promise<void> =>
  held.database.transact((tx) =>
    events.record(tx, { projectId, kind: 'volume.created', resourceType: 'volume', resourceId, payload: { a: [1] } }),
  );

test('events are read on from the last id that was seen, for one project or for all', async () => {
  await record('one');
  await record('two', 'q');
  await record('three');
  const [first] = await events.since(0);
  expect(first).toMatchObject({ resourceId: 'one', projectId: 'p', payload: { a: [1] } });
  expect((await events.since(first?.id ?? 0)).map((event) => event.resourceId)).toEqual(['two', 'three']);
  expect((await events.since(0, { projectId: 'p' })).map((event) => event.resourceId)).toEqual(['one', 'three']);
  expect(await events.since(0, { limit: 2 })).toHaveLength(2);
});

test('a reader never skips an event whose transaction was slow', async () => {
  const recorded = Promise.withResolvers<void>();
  const mayEnd = Promise.withResolvers<void>();
  const slow = held.database.transact(async (tx) => {
    await events.record(tx, { projectId: 'p', kind: 'slow', resourceType: 'volume', resourceId: 'slow' });
    recorded.resolve();
    await mayEnd.promise;
  });
  await recorded.promise;
  const quick = record('quick');
  // Long enough for it to commit, if it could.
  await pause(100);
  expect(await events.since(0)).toEqual([]);
  mayEnd.resolve();
  await Promise.all([slow, quick]);
  expect((await events.since(0)).map((event) => event.resourceId)).toEqual(['slow', 'quick']);
});

test('listeners hear of an event once it is committed', async () => {
  const session = await held.database.openSession('test');
  const heard: (string | undefined)[] = [];
  session.on('notification', (message) => heard.push(message.payload));
  await session.query(`LISTEN ${eventChannel}`);
  await record('one');
  const [event] = await events.since(0);
  await expect.poll(() => heard).toEqual([String(event?.id)]);
  await session.end();
});
