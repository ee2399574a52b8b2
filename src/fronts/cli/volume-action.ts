import type { ApiClient } from './client.ts';

/** One action on a volume: an object whose single key names it. */
export async function volumeAction<Answer = undefined>(
  api: ApiClient,
  volumeId: string,
  action: Readonly<Record<string, unknown>>,
): Promise<Answer> {
  return await api.call<Answer>('block-storage', 'POST', `/volumes/${volumeId}/action`, { body: action });
}
