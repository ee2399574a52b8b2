export const lowestMicroversion = '3.0';
export const highestMicroversion = '3.70';

/** The one document of discovery; `serviceUrl` ends before the version: `http://host/volume`. */
export function versionsDocument(serviceUrl: string): object {
  return {
    versions: [
      {
        id: 'v3.0',
        status: 'CURRENT',
        version: highestMicroversion,
        min_version: lowestMicroversion,
        updated: '2022-08-31T00:00:00Z',
        links: [
          { rel: 'describedby', type: 'text/html', href: 'https://docs.openstack.org/' },
          { rel: 'self', href: `${serviceUrl}/v3/` },
        ],
        'media-types': [{ base: 'application/json', type: 'application/vnd.openstack.volume+json;version=3' }],
      },
    ],
  };
}
