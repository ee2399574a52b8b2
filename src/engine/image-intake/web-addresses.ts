/** Which addresses and ports images may be fetched from: the public ones, and what the operator allows beside them. */
import { BlockList, isIP } from 'node:net';

export interface DownloadRules {
  /** Networks that may be reached although they are not public: `10.1.0.0/16`, `192.0.2.7`, `fd00::/8`. */
  readonly allowedNetworks: readonly string[];
  readonly allowedPorts: readonly number[];
}

/** Everything that is not the public internet: this machine, its neighbours, tunnels that lead to them, and what is reserved. */
const privateV4 = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
];
const publicV6 = ['2000::/3'];
/** Within the public ones: Teredo and other special uses, documentation, 6to4. */
const specialV6 = ['2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20'];

/** Throws an `Error` for a text that is no network. */
export function networkList(networks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    const [address = '', prefix, ...rest] = network.split('/');
    const version = isIP(address);
    const bits = version === 6 ? 128 : 32;
    const length = prefix === undefined ? bits : Number(prefix);
    if (version === 0 || rest.length > 0 || !/^\d{1,3}$/.test(prefix ?? '0') || length > bits)
      throw new Error(`${network} is not a network`);
    list.addSubnet(address, length, version === 6 ? 'ipv6' : 'ipv4');
  }
  return list;
}

const lists = { privateV4: networkList(privateV4), publicV6: networkList(publicV6), specialV6: networkList(specialV6) };

/** Of an address in the form that a resolver or a URL gives. IPv4 inside IPv6 is never public: such an address can be written in IPv4. */
export function isPublicAddress(address: string): boolean {
  const version = isIP(address);
  if (version === 4) return !lists.privateV4.check(address, 'ipv4');
  return version === 6 && lists.publicV6.check(address, 'ipv6') && !lists.specialV6.check(address, 'ipv6');
}

export function addressFilter(allowedNetworks: readonly string[]): (address: string) => boolean {
  const allowed = networkList(allowedNetworks);
  // Asked for nothing, an empty list answers false.
  return (address) => isPublicAddress(address) || allowed.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
}
