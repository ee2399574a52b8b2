/** A front on a real port of the loopback interface, and calls to it. */
import Fastify, { type FastifyInstance } from 'fastify';

export interface Loopback {
  readonly url: string;
  readonly app: FastifyInstance;
  call(method: string, path: string, options?: CallOptions): Promise<Reply>;
  close(): Promise<void>;
}

export interface CallOptions {
  readonly token?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON, unless it is text already. */
  readonly body?: unknown;
}

export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: the answer under test; the assertions look into it
  readonly json: any;
}

export async function onLoopback(register: (app: FastifyInstance) => void): Promise<Loopback> {
  const app = Fastify();
  register(app);
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  return {
    url,
    app,
    close: () => app.close(),
    async call(method, path, options = {}) {
      const headers: Record<string, string> = {
        ...(options.token === undefined ? {} : { 'x-auth-token': options.token }),
        ...options.headers,
      };
      const init: RequestInit = { method, headers, redirect: 'manual' };
      if (options.body !== undefined) {
        headers['content-type'] ??= 'application/json';
        init.body = typeof options.body === 'string' ? options.body : JSON.stringify(options.body);
      }
      const answer = await fetch(`${url}${path}`, init);
      const text = await answer.text();
      const isJson = answer.headers.get('content-type')?.includes('json') === true && text !== '';
      return { status: answer.status, headers: answer.headers, text, json: isJson ? JSON.parse(text) : undefined };
    },
  };
}
