import type { FastifyInstance } from 'fastify';
import { authorise } from '../../../cloud/identity/policy.ts';
import { forbidden } from '../../../lib/errors.ts';

/** What Compute calls its quotas before microversion 2.36. */
const quotaKeys = [
  'instances',
  'cores',
  'ram',
  'metadata_items',
  'key_pairs',
  'server_groups',
  'server_group_members',
  'injected_files',
  'injected_file_content_bytes',
  'injected_file_path_bytes',
  'fixed_ips',
  'floating_ips',
  'security_groups',
  'security_group_rules',
] as const;

const noQuotas = Object.fromEntries(quotaKeys.map((key) => [key, 0]));

type OfProject = { Params: { project: string } };

export function registerQuotaRoutes(app: FastifyInstance): void {
  app.get<OfProject>('/os-quota-sets/:project', async ({ params, caller }) => {
    authorise(caller, 'machine_quota:get', { projectId: params.project });
    return { quota_set: { id: params.project, ...noQuotas } };
  });
  // What a new project would get is no secret of any project.
  app.get<OfProject>('/os-quota-sets/:project/defaults', async ({ params }) => ({ quota_set: { id: params.project, ...noQuotas } }));
  app.get<{ Params: { class: string } }>('/os-quota-class-sets/:class', async ({ params, caller }) => {
    authorise(caller, 'machine_quota_class:get', { projectId: null });
    return { quota_class_set: { id: params.class, ...noQuotas } };
  });
  app.put('/os-quota-sets/:project', async () => {
    throw forbidden('There are no machines in this cloud whose quotas could be set.');
  });
}
