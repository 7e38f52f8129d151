/** What a store is started with. */
export type StoreSite = {
  /** For its files. */
  readonly dir: string;
  /** The namespace with the network between nodes, in which 10.99.0.254 is. */
  readonly fabric: string;
  /** net-conf.json. */
  readonly netConf: object;
};

/** Where flanneld and our agents have the cluster's leases. */
export type FlannelStore = {
  /** flanneld's flags. */
  readonly flanneld: readonly string[];
  /** Our agent's `store`. */
  readonly agent: object;
  /** Makes it known to a node, and the node to it, before anything runs there. */
  readonly join: (node: {
    readonly name: string;
    readonly netns: string;
    readonly index: number;
  }) => Promise<void>;
  readonly end: () => Promise<void>;
};
