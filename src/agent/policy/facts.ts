import type { PolicyOptions } from '../../cluster/policy-options.ts';
import type { PolicyView } from '../../policy/model/view.ts';
import type { KnownNames } from '../../policy/node/contributions.ts';

/** What an agent knows for network policies. Sources set it here. */
export class PolicyFacts {
  /** Whether the store has network policies. */
  areServed = false;
  readonly #changed: () => void;
  #view: PolicyView | undefined;
  #logGroup: number | undefined;
  #names: KnownNames | undefined;
  #hasFlowtables: boolean | undefined;

  constructor(changed: () => void) {
    this.#changed = changed;
  }

  /** Undefined until they are known. */
  get view(): PolicyView | undefined {
    return this.#view;
  }

  setView(view: PolicyView | undefined): void {
    this.#view = view;
    this.#changed();
  }

  /** The group of NFLOG by which this agent hears of connections; undefined if it does not. */
  get logGroup(): number | undefined {
    return this.#logGroup;
  }

  setLogGroup(group: number | undefined): void {
    this.#logGroup = group;
    this.#changed();
  }

  /** What domain names in policies stand for; undefined: nothing. */
  get names(): KnownNames | undefined {
    return this.#names;
  }

  setNames(names: KnownNames): void {
    this.#names = names;
    this.#changed();
  }

  /** Whether the kernel has flowtables; undefined until somebody has tried. */
  get hasFlowtables(): boolean | undefined {
    return this.#hasFlowtables;
  }

  setFlowtables(areThere: boolean): void {
    this.#hasFlowtables = areThere;
    this.#changed();
  }

  /** Whether all is known that these options ask for. */
  suffice(options: PolicyOptions | undefined): boolean {
    if (!options) return true;
    const isViewKnown = !this.areServed || this.#view !== undefined;
    return isViewKnown && (!options.offload || this.#hasFlowtables !== undefined);
  }
}
