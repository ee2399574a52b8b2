/** The documents of discovery. `serviceUrl` ends before the version: `http://host/compute`. */
import { highestMicroversion, lowestMicroversion } from './microversions.ts';

interface Version {
  readonly id: string;
  readonly status: string;
  readonly updated: string;
  readonly version: string;
  readonly minVersion: string;
}

/** Clients look for 2.1 by its name, and expect the older one, which is the same without microversions, in front of it. */
const versions = {
  v2: { id: 'v2.0', status: 'SUPPORTED', updated: '2011-01-21T11:33:21Z', version: '', minVersion: '' },
  'v2.1': {
    id: 'v2.1',
    status: 'CURRENT',
    updated: '2013-07-23T11:33:21Z',
    version: highestMicroversion,
    minVersion: lowestMicroversion,
  },
} as const satisfies Record<string, Version>;

type Path = keyof typeof versions;

export const versionList = (serviceUrl: string): object => ({
  versions: [listed('v2', serviceUrl), listed('v2.1', serviceUrl)],
});

export function versionDocument(path: Path, serviceUrl: string): object {
  const described = { rel: 'describedby', type: 'text/html', href: 'http://docs.openstack.org/' };
  const { links, ...version } = listed(path, serviceUrl);
  return { version: { ...version, links: [...links, described], 'media-types': mediaTypes(path) } };
}

/** What is answered to a path of no version. */
export const versionChoices = (serviceUrl: string): object => ({
  choices: (['v2', 'v2.1'] as const).map((path) => {
    const { id, status, links } = listed(path, serviceUrl);
    return { id, status, links, 'media-types': mediaTypes(path) };
  }),
});

function listed(path: Path, serviceUrl: string) {
  const { id, status, updated, version, minVersion } = versions[path];
  return { id, status, version, min_version: minVersion, updated, links: [{ rel: 'self', href: `${serviceUrl}/${path}/` }] };
}

const mediaTypes = (path: Path): object[] => {
  const version = path === 'v2' ? '2' : '2.1';
  return [{ base: 'application/json', type: `application/vnd.openstack.compute+json;version=${version}` }];
};
