import type { FastifyInstance } from 'fastify';

/**
 * Which methods a path has, for telling "no such page" from "not this method". The router keeps that to itself, so the
 * routes are noted while they are registered: call this before registering them.
 */
export interface KnownRoutes {
  methodsAt(path: string): readonly string[];
}

export function noteRoutes(app: FastifyInstance): KnownRoutes {
  const patterns = new Map<string, { shape: RegExp; methods: Set<string> }>();
  app.addHook('onRoute', (route) => {
    const known = patterns.get(route.url) ?? { shape: shapeOf(route.url), methods: new Set<string>() };
    for (const method of [route.method].flat()) known.methods.add(method);
    patterns.set(route.url, known);
  });
  return {
    methodsAt(path) {
      const methods = new Set<string>();
      for (const { shape, methods: here } of patterns.values()) {
        if (shape.test(path)) for (const method of here) methods.add(method);
      }
      return [...methods].sort();
    },
  };
}

function shapeOf(pattern: string): RegExp {
  const source = pattern
    .replace(/\/+$/, '')
    .split('/')
    .map((part) => {
      if (part.startsWith(':')) return '[^/]+';
      if (part === '*') return '.*';
      return part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
    })
    .join('/');
  return new RegExp(`^${source}/?$`);
}
