import type { Ip } from '../../../ip/address.ts';
import type { Cidr } from '../../../ip/cidr.ts';
import type { BirdConfig } from '../configuration/render.ts';
import type { Session } from '../configuration/session.ts';
import type { DaemonStatus, ProtocolStatus } from './protocols.ts';
import type { BgpRoute } from './routes.ts';

/** The BGP of one node: what `flatnet bgp status` prints. */
export type BgpStatus = {
  readonly daemon: DaemonStatus;
  readonly sessions: readonly SessionStatus[];
  readonly warnings: readonly string[];
};

export type SessionStatus = {
  readonly name: string;
  readonly family: Session['family'];
  readonly address: Ip;
  readonly node?: string;
  readonly as: number;
  readonly reason: Session['reason'];
  /** BIRD's term: `up`, `start`, `down`; `missing` when BIRD does not know the session. */
  readonly state: string;
  readonly since: string;
  readonly info: string;
  readonly imported: number;
  readonly exported: number;
};

/** A route of BIRD's, and that of another program which the kernel uses instead, if any. */
export type ShownRoute = BgpRoute & { readonly obstacle?: string };

/** The queries that BIRD answers, as implemented by `Bird`. */
export type BirdQueries = {
  daemon(): Promise<DaemonStatus>;
  protocols(): Promise<ProtocolStatus[]>;
  routes(session?: string): Promise<BgpRoute[]>;
};

/** A running BGP: its BIRD and that BIRD's configuration. */
export type Bgp = {
  readonly bird: BirdQueries;
  readonly config: BirdConfig;
  /** Routes of others that are in the way of BIRD's. */
  readonly obstacles?: readonly { readonly dst: Cidr; readonly text: string }[];
};

export async function bgpStatus({ bird, config }: Bgp): Promise<BgpStatus> {
  const daemon = await bird.daemon();
  const protocols = new Map((await bird.protocols()).map((protocol) => [protocol.name, protocol]));
  return {
    daemon,
    sessions: config.sessions.map((session) => sessionStatus(session, protocols.get(session.name))),
    warnings: config.warnings,
  };
}

function sessionStatus(session: Session, protocol: ProtocolStatus | undefined): SessionStatus {
  return {
    name: session.name,
    family: session.family,
    address: session.remote.address,
    ...(session.node !== undefined && { node: session.node }),
    as: session.remote.as,
    reason: session.reason,
    state: protocol?.state ?? 'missing',
    since: protocol?.since ?? '',
    info: protocol?.info ?? '',
    imported: protocol?.imported ?? 0,
    exported: protocol?.exported ?? 0,
  };
}

/**
 * Returns the routes from `peer` (an address or a node's name), or all routes. Undefined when there is no
 * such peer.
 */
export async function bgpRoutes(
  { bird, config, obstacles = [] }: Bgp,
  peer: string | undefined,
): Promise<readonly ShownRoute[] | undefined> {
  const shown = (route: BgpRoute): ShownRoute => {
    const other = route.best ? obstacles.find(({ dst }) => dst === route.net) : undefined;
    return other ? { ...route, obstacle: other.text } : route;
  };
  if (peer === undefined) return (await bird.routes()).map(shown);
  const sessions = config.sessions.filter(({ node, remote }) => node === peer || remote.address === peer);
  if (sessions.length === 0) return undefined;
  const routes = await Promise.all(sessions.map(({ name }) => bird.routes(name)));
  return routes.flat().map(shown);
}
