import { describe, type TestContext } from 'node:test';
import type { Store } from '../../../src/store/ports/store.ts';
import { blocksConformance } from './blocks.ts';
import { feedConformance } from './feed.ts';
import { membershipConformance } from './membership.ts';
import { networkConformance } from './network.ts';
import { resourcesConformance } from './resources.ts';

/** An empty store for one test. `open` connects another agent to it. All connections end with the test. */
export type Start = (t: TestContext) => Promise<{ readonly open: () => Store }>;

/** What a store cannot do by its nature: tests of it are left out. */
export type Limits = {
  /** It cannot ask whether an agent lives: something else sees to it that a name has only one. */
  readonly challenges?: false;
};

/** The conformance suite for every implementation of the ports. */
export function portsConformance(title: string, start: Start, skip: string | false = false): void {
  describe(title, { skip }, () => {
    networkConformance(start);
    feedConformance(start);
    membershipConformance(start);
    resourcesConformance(start);
    blocksConformance(start);
  });
}
