import { STATUS_CODES } from 'node:http';
import type { FastifyInstance } from 'fastify';
import { answerErrors, type ErrorStyle } from './errors.ts';

type Form = 'json' | 'html' | 'text';

/** Image answers errors as a web page would, in the form that the client prefers; equal preference means HTML. */
export function preferredForm(accept: string | undefined): Form {
  const html = preference(accept ?? '', 'text', 'html');
  const json = preference(accept ?? '', 'application', 'json');
  if (html === 0 && json === 0) return 'text';
  return json > html ? 'json' : 'html';
}

/** The weight an Accept header gives to a media type; the most precise range that names it counts. */
function preference(accept: string, type: string, subtype: string): number {
  const precision = [`*/*`, `${type}/*`, `${type}/${subtype}`];
  let best = { precision: -1, weight: 0 };
  for (const range of accept.split(',')) {
    const [name = '', ...parameters] = range.split(';').map((part) => part.trim().toLowerCase());
    const found = precision.indexOf(name);
    if (found <= best.precision) continue;
    const weight = Number(parameters.find((parameter) => parameter.startsWith('q='))?.slice(2) ?? '1');
    best = { precision: found, weight: Number.isFinite(weight) ? weight : 0 };
  }
  return best.weight;
}

const escapes: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (character) => escapes[character] ?? character);

function page(heading: string, message: string): string {
  return `<html>\n <head>\n  <title>${heading}</title>\n </head>\n <body>\n  <h1>${heading}</h1>\n  ${escapeHtml(message)}<br /><br />\n </body>\n</html>`;
}

const style: ErrorStyle = {
  internalMessage: 'The server has either erred or is incapable of performing the requested operation.',
  tooLargeMessage: 'The body of the request is too large.',
  mediaTypeMessage: 'The media type of the request is not supported by this resource.',
  unknownRouteMessage: 'The resource could not be found.',
  wrongMethodMessage: 'The method is not allowed for this resource.',
  send(request, reply, { status, message }) {
    const title = STATUS_CODES[status] ?? 'Error';
    const heading = `${status} ${title}`;
    reply.code(status);
    switch (preferredForm(request.headers.accept)) {
      case 'json':
        return reply.type('application/json').send({ message, code: heading, title });
      case 'html':
        return reply.type('text/html; charset=UTF-8').send(page(heading, message));
      case 'text':
        return reply.type('text/plain; charset=UTF-8').send(`${heading}\n\n${message}\n`);
    }
  },
};

export const answerWithGlanceErrors = (app: FastifyInstance): void => answerErrors(app, style);
