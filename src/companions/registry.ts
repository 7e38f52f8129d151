import { FlatnetError } from '../error.ts';
import type { BirdOperations } from './bird/status/handlers.ts';
import type { RegisteredCompanion, Sessions } from './companion.ts';

/** The operations of all companions, with their answers. */
export type CompanionOperations = BirdOperations;

/**
 * A companion whose nodes need sessions with each other: before these are up, a node that is ready reaches
 * nobody's pods.
 */
export type WithSessions = {
  /** What people call them, as in `no BGP session with …`. */
  readonly name: string;
  /** The program that holds them. */
  readonly program: string;
  /** `ask` asks the node's agent. */
  readonly read: (
    ask: <Op extends keyof CompanionOperations>(op: Op) => Promise<CompanionOperations[Op]>,
  ) => Promise<Sessions>;
};

async function requireCloud(): Promise<never> {
  throw new FlatnetError('runs on a cloud’s instances, and a lab has none', {
    code: 'CONFIG_INVALID',
    object: 'Backend.Type',
    fix: 'use another backend in a lab, such as host-gw',
  });
}

/** All kinds of companions; a backend not listed here needs none. */
export const COMPANIONS: readonly (RegisteredCompanion & { readonly sessions?: WithSessions })[] = [
  {
    backend: 'bgp',
    name: 'bird',
    operations: ['bgp-status', 'bgp-routes'],
    load: async () => (await import('./bird/companion.ts')).bird,
    requirePrograms: async () => (await import('./bird/daemon/program.ts')).installedVersion('bird'),
    sessions: {
      name: 'BGP',
      program: 'BIRD',
      read: async (ask) => (await import('./bird/status/sessions.ts')).sessionsIn(await ask('bgp-status')),
    },
  },
  {
    backend: 'udp',
    name: 'udp',
    receives: true,
    load: async () => (await import('./udp/companion.ts')).udpCompanion,
  },
  {
    backend: 'aws-vpc',
    name: 'aws-vpc',
    load: async () => (await import('./aws-vpc/companion.ts')).awsVpcCompanion,
    requirePrograms: requireCloud,
  },
  {
    backend: 'gce',
    name: 'gce',
    load: async () => (await import('./gce/companion.ts')).gceCompanion,
    requirePrograms: requireCloud,
  },
  {
    backend: 'extension',
    name: 'extension',
    load: async () => (await import('./extension/companion.ts')).extensionCompanion,
  },
];
