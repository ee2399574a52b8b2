/** With whom an image is shared. */
import type { FastifyInstance } from 'fastify';
import { type MemberStatus, memberStatuses } from '../../../cloud/images/image.ts';
import type { ImageMember, ImageMembers } from '../../../cloud/images/service.ts';
import { badRequest } from '../../../lib/errors.ts';
import { secondsOf } from './view.ts';

type WithImage = { Params: { id: string } };
type WithMember = { Params: { id: string; member: string } };

const memberIdLengthMax = 255;

export function memberRoutes(app: FastifyInstance, members: ImageMembers): void {
  app.get<WithImage>('/v2/images/:id/members', async (request) => {
    const found = await members.list(request.caller, request.params.id);
    return { members: found.map(memberView), schema: '/v2/schemas/members' };
  });
  app.post<WithImage>('/v2/images/:id/members', async (request) =>
    memberView(await members.add(request.caller, request.params.id, parseMember(request.body))),
  );
  app.get<WithMember>('/v2/images/:id/members/:member', async (request) =>
    memberView(await members.show(request.caller, request.params.id, request.params.member)),
  );
  app.put<WithMember>('/v2/images/:id/members/:member', async (request) => {
    const status = parseStatus(request.body);
    return memberView(await members.setStatus(request.caller, request.params.id, request.params.member, status));
  });
}

/** What has no body, and no type of one. */
export function memberDeleteRoutes(app: FastifyInstance, members: ImageMembers): void {
  app.delete<WithMember>('/v2/images/:id/members/:member', async (request, reply) => {
    await members.remove(request.caller, request.params.id, request.params.member);
    return reply.code(204).send();
  });
}

const memberView = (member: ImageMember): Record<string, unknown> => ({
  member_id: member.memberId,
  image_id: member.imageId,
  status: member.status,
  created_at: secondsOf(member.createdAt),
  updated_at: secondsOf(member.updatedAt),
  schema: '/v2/schemas/member',
});

function parseMember(body: unknown): string {
  const { member } = objectOf(body, 'Expected a dict with "member"');
  if (member === undefined) throw badRequest('Member to be added not specified');
  if (typeof member !== 'string' || member.trim() === '') throw badRequest("Member can't be empty");
  if ([...member].length > memberIdLengthMax) throw badRequest(`Invalid member: a member has at most ${memberIdLengthMax} characters`);
  return member;
}

function parseStatus(body: unknown): MemberStatus {
  const { status } = objectOf(body, 'Expected a dict with "status"');
  if (status === undefined) throw badRequest('Status not specified');
  const known = memberStatuses.find((one) => one === status);
  if (known === undefined) throw badRequest(`Invalid value '${String(status)}' for 'status': it is one of ${memberStatuses.join(', ')}`);
  return known;
}

function objectOf(body: unknown, otherwise: string): Record<string, unknown> {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) throw badRequest(otherwise);
  return body as Record<string, unknown>;
}
