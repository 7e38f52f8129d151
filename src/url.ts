/** A TCP server, as `node:net` and `node:http` take it. */
export type Server = { readonly host: string; readonly port: number };

/** The server of a URL: an IPv6 address without the URL's brackets, and the scheme's port by default. */
export function serverAt({ protocol, hostname, port }: URL): Server {
  const host = hostname.replace(/^\[(.*)\]$/, '$1');
  return { host, port: Number(port || (protocol === 'https:' ? 443 : 80)) };
}
