/** `/messages` (3.3): why work failed that went on after its request was answered. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { messageColumns } from '../../../cloud/messages/contract.ts';
import type { Message } from '../../../cloud/messages/service.ts';
import { nextLinks, queryOf } from '../shared/paging.ts';
import type { BlockStorageFront } from './context.ts';
import { type ListRules, parseList } from './list-query.ts';
import { resourceFilters } from './resource-filters.ts';
import { since } from './since.ts';
import { type Viewer, viewerOf } from './viewer.ts';

type WithId = { Params: { id: string } };

const newEnough = since(3);
const rules: ListRules<keyof typeof messageColumns> = {
  columns: messageColumns,
  aliases: {},
  commonFilters: resourceFilters.message,
  constants: {},
  sortByNameSince: 3,
};

export function registerMessageRoutes(app: FastifyInstance, { messages, publicUrl }: BlockStorageFront): void {
  app.get('/messages', newEnough, async (request) => {
    const order = parseList(queryIn(request), request, rules);
    const found = order === undefined ? [] : await messages.list(request.caller, order);
    const itemIds = found.map(({ id }) => id);
    const links = order === undefined ? undefined : nextLinks(request, { publicUrl, limit: order.limit, itemIds });
    const viewer = viewerOf(request, publicUrl);
    return { messages: found.map((message) => messageView(message, viewer)), ...(links === undefined ? {} : { messages_links: links }) };
  });
  app.get<WithId>('/messages/:id', newEnough, async (request) => {
    return { message: messageView(await messages.get(request.caller, request.params.id), viewerOf(request, publicUrl)) };
  });
  app.delete<WithId>('/messages/:id', newEnough, async (request, reply) => {
    await messages.delete(request.caller, request.params.id);
    return reply.code(204).send();
  });
}

/** Pages and filters came with 3.5; before, what is asked makes no difference. */
const queryIn = (request: FastifyRequest) => (request.microversion.atLeast(3, 5) ? queryOf(request) : {});

const messageView = (message: Message, viewer: Viewer): object => ({
  id: message.id,
  event_id: message.eventId,
  user_message: message.text,
  message_level: message.level,
  created_at: message.createdAt,
  guaranteed_until: message.expiresAt,
  request_id: message.requestId ?? '',
  resource_type: message.resourceType,
  resource_uuid: message.resourceId,
  links: viewer.linksTo('messages', message.id),
});
