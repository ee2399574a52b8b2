import type { FastifyInstance } from 'fastify';
import Type from 'typebox';
import type { ConfigPart, DomainConfig } from '../../../cloud/identity/domain-config.ts';
import { keystoneBodyMessage, parseBody } from '../shared/body.ts';
import type { IdentityFront } from './context.ts';

const body = Type.Object({ config: Type.Unsafe<DomainConfig>(Type.Record(Type.String(), Type.Record(Type.String(), Type.Unknown()))) });
/** A single option comes without its group around it. */
const optionBody = Type.Object({ config: Type.Unsafe<DomainConfig[string]>(Type.Record(Type.String(), Type.Unknown())) });

interface Params {
  readonly id: string;
  readonly group?: string;
  readonly option?: string;
}

/** Of an option only itself is shown, of a group the group around it. */
const view = (config: DomainConfig, { group, option }: ConfigPart) => ({
  config: group !== undefined && option !== undefined ? config[group] : config,
});

export function domainConfigRoutes(app: FastifyInstance, front: IdentityFront): void {
  const { domainConfigs } = front.identity;
  const parts = ['', '/:group', '/:group/:option'];

  for (const part of parts) {
    app.get<{ Params: Params }>(`/domains/config${part}/default`, async (request) =>
      view(domainConfigs.defaults(request.token, request.params), request.params),
    );
    const path = `/domains/:id/config${part}`;
    app.get<{ Params: Params }>(path, async (request) =>
      view(await domainConfigs.get(request.token, request.params.id, request.params), request.params),
    );
    app.patch<{ Params: Params }>(path, async (request) => {
      const { group, option } = request.params;
      const config =
        group !== undefined && option !== undefined
          ? { [group]: parseBody(optionBody, request.body, keystoneBodyMessage).config }
          : parseBody(body, request.body, keystoneBodyMessage).config;
      return { config: await domainConfigs.update(request.token, request.params.id, request.params, config) };
    });
    app.delete<{ Params: Params }>(path, async (request, reply) => {
      await domainConfigs.delete(request.token, request.params.id, request.params);
      return reply.code(204).send();
    });
  }
  app.put<{ Params: Params }>('/domains/:id/config', async (request, reply) => {
    const { config } = parseBody(body, request.body, keystoneBodyMessage);
    const replaced = await domainConfigs.replace(request.token, request.params.id, config);
    reply.code(replaced.isNew ? 201 : 200);
    return { config: replaced.config };
  });
}
