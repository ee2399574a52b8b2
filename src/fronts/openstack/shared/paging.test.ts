import type { FastifyRequest } from 'fastify';
import { describe, expect, it } from 'vitest';
import { publicBase, selfAndBookmark } from './links.ts';
import { nextLinks, parsePage, parseSort } from './paging.ts';

const columns = { id: 'id', created_at: 'created_at', name: 'name', display_name: 'name' } as const;
const sort = (query: Record<string, string>) =>
  parseSort(query, columns, ['created_at', 'id']).map(({ column, direction }) => `${column} ${direction}`);

describe('a page', () => {
  it('holds a thousand items at most', () => {
    expect(parsePage({})).toEqual({ limit: 1000, offset: 0, marker: undefined });
    expect(parsePage({ limit: '5000', offset: '7', marker: 'x' })).toEqual({ limit: 1000, offset: 7, marker: 'x' });
    expect(parsePage({ limit: '0' }).limit).toBe(0);
  });

  it('is refused with a limit or offset that is no natural number', () => {
    expect(() => parsePage({ limit: 'a' })).toThrow('limit param must be an integer');
    expect(() => parsePage({ limit: '-1' })).toThrow('limit param must be positive');
    expect(() => parsePage({ offset: '1.5' })).toThrow('offset must be an integer');
    expect(() => parsePage({ offset: '-1' })).toThrow('offset must be >= 0');
    expect(() => parsePage({ offset: '99999999999' })).toThrow('offset must be <=');
  });
});

describe('the order', () => {
  it('is the newest first, and total', () => {
    expect(sort({})).toEqual(['created_at desc', 'id desc']);
    expect(sort({ sort: 'name:asc' })).toEqual(['name asc', 'created_at asc', 'id asc']);
    expect(sort({ sort: 'display_name, id:asc' })).toEqual(['name desc', 'id asc', 'created_at desc']);
    expect(sort({ sort_key: 'name', sort_dir: 'asc' })).toEqual(['name asc', 'created_at asc', 'id asc']);
  });

  it('knows a key that comes again no more', () => {
    expect(sort({ sort: 'name:asc,display_name:desc,name,id:asc,id' })).toEqual(['name asc', 'id asc', 'created_at asc']);
    expect(sort({ sort: Array.from({ length: 2000 }, () => 'id').join() })).toEqual(['id desc', 'created_at desc']);
  });

  it('is refused when it is unknown or said twice', () => {
    expect(() => sort({ sort: 'name:up' })).toThrow('Unknown sort direction');
    expect(() => sort({ sort: 'constructor' })).toThrow('Invalid sort key');
    expect(() => sort({ sort: 'name', sort_dir: 'asc' })).toThrow('deprecated');
  });
});

// Only what links are made of.
const requestFor = (url: string, host = 'cloud:8700') => ({ url, host, protocol: 'http', socket: { localPort: 8700 } }) as FastifyRequest;

describe('links', () => {
  it('follow the public URL, else the host that was asked', () => {
    expect(publicBase(requestFor('/'), 'https://cloud.example/')).toBe('https://cloud.example');
    expect(publicBase(requestFor('/'), undefined)).toBe('http://cloud:8700');
    expect(publicBase(requestFor('/', '[::1]:1'), undefined)).toBe('http://[::1]:1');
  });

  it('never repeat a host that is not one', () => {
    expect(publicBase(requestFor('/', 'a"b/c'), undefined)).toBe('http://127.0.0.1:8700');
  });

  it('point to a resource with and without the version', () => {
    expect(selfAndBookmark('http://h/volume', 'v3', 'p', 'volumes', 'v').map(({ href }) => href)).toEqual([
      'http://h/volume/v3/p/volumes/v',
      'http://h/volume/p/volumes/v',
    ]);
  });

  it('lead to the next page when this one is full', () => {
    const request = requestFor('/volume/v3/p/volumes/detail?limit=2&offset=4&name=a%20b');
    const next = nextLinks(request, { publicUrl: undefined, limit: 2, itemIds: ['1', '2'] });
    expect(next).toEqual([{ rel: 'next', href: 'http://cloud:8700/volume/v3/p/volumes/detail?limit=2&name=a+b&marker=2' }]);
    expect(nextLinks(request, { publicUrl: undefined, limit: 2, itemIds: ['1'] })).toBeUndefined();
    expect(nextLinks(request, { publicUrl: undefined, limit: 2, itemIds: [] })).toBeUndefined();
    expect(nextLinks(request, { publicUrl: undefined, limit: 2, itemIds: ['3'], total: 3 })).toHaveLength(1);
  });
});
