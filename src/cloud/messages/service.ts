/**
 * Messages: what users are told of work that failed after its request was answered. Written once for each failed job, right before its rows
 * are settled; users read and delete them, and they expire by themselves.
 */
import { notFound } from '../../lib/errors.ts';
import { isUuid } from '../../lib/ids.ts';
import type { ListQuery } from '../database/lists.ts';
import type { Database, Json, Timestamp } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import { type Action, authorise, canSee, projectOfList } from '../identity/policy.ts';
import type { SagaDefinition } from '../jobs/saga.ts';
import type { Jobs } from '../jobs/service.ts';
import { actions, details, eventIdOf, type MessageResource, userTextOf } from './catalogue.ts';
import type { MessageColumn } from './contract.ts';
import { deleteExpired, deleteMessage, findMessage, insertMessage, listMessages, type MessageRow } from './store.ts';
import { tellingOf } from './subjects.ts';

export interface Message {
  readonly id: string;
  readonly eventId: string;
  readonly text: string;
  readonly level: string;
  readonly requestId: string | null;
  readonly resourceType: MessageResource;
  readonly resourceId: string;
  readonly createdAt: Timestamp;
  readonly expiresAt: Timestamp;
}

export interface MessageQuery extends Omit<ListQuery<MessageColumn>, 'projectId' | 'markerId' | 'metadata'> {
  readonly marker: string | undefined;
}

export interface MessagesService {
  /** Those of the caller's project; administrators get all. */
  list(caller: Caller, query: MessageQuery): Promise<Message[]>;
  get(caller: Caller, id: string): Promise<Message>;
  delete(caller: Caller, id: string): Promise<void>;
}

const livesDays = 30;

export function createMessages({ database }: { readonly database: Database }): MessagesService {
  const find = async (caller: Caller, id: string, action: Action): Promise<MessageRow> => {
    const row = isUuid(id) ? await findMessage(database.sql, id) : undefined;
    if (row === undefined || !canSee(caller, row)) throw notFound(`Message ${id} could not be found.`);
    authorise(caller, action, row);
    return row;
  };
  return {
    async list(caller, query) {
      authorise(caller, 'message:list', { projectId: caller.projectId });
      if (query.marker !== undefined) await find(caller, query.marker, 'message:get');
      if (query.limit === 0) return [];
      const list = { ...query, projectId: projectOfList(caller, true), metadata: {}, markerId: query.marker };
      return (await listMessages(database.sql, list)).map(messageOf);
    },
    get: async (caller, id) => messageOf(await find(caller, id, 'message:get')),
    async delete(caller, id) {
      await find(caller, id, 'message:delete');
      await deleteMessage(database.sql, id);
    },
  };
}

function messageOf(row: MessageRow): Message {
  const { id, actionId, detailId, level, requestId, resourceType, resourceId, createdAt, expiresAt } = row;
  const said = { eventId: eventIdOf(resourceType, actionId, detailId), text: userTextOf(actionId, detailId) };
  return { id, ...said, level, requestId, resourceType, resourceId, createdAt, expiresAt };
}

/** The same jobs, but users are told of those that fail. The sagas themselves know nothing of it. */
export function tellingUsers(jobs: Jobs, { database }: { readonly database: Database }): Jobs {
  const watched = <Input extends Json>(saga: SagaDefinition<Input>): SagaDefinition<Input> => ({
    ...saga,
    async settle(context, failure) {
      const telling = tellingOf(saga.kind, context.input, failure);
      // First: whoever sees the status of a failure finds its message.
      if (telling !== undefined) {
        const { resource: resourceType, resourceId, action, detail } = telling;
        const ids = { id: context.sagaId, resourceId, actionId: actions[action].id, detailId: details[detail].id };
        await insertMessage(database.sql, { ...ids, resourceType, livesDays });
        await deleteExpired(database.sql);
      }
      await saga.settle(context, failure);
    },
  });
  return { ...jobs, define: (saga) => jobs.define(watched(saga)) };
}
