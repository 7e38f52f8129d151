/** How to reach an API server, and as whom. Credentials are read again as they rotate. */
export interface Access {
  /** `https://host:port`, perhaps with a path below which the API begins. */
  readonly server: string;
  /** The namespace of the service account or of the kubeconfig's context. */
  readonly namespace: string;
  /** What a new connection is secured with. Throws IO or CONFIG_INVALID. */
  tls(): Promise<TlsMaterial>;
  /** The headers that say who is asking. Throws IO or CONFIG_INVALID. */
  headers(): Promise<Headers>;
  /** Forgets what was read: the server refused it, or its certificate could not be verified. */
  forget(): void;
}

/** As node:http takes them: a list is sent as several headers. */
export type Headers = Readonly<Record<string, string | string[]>>;

/** PEM texts, and how the server's certificate is verified. */
export type TlsMaterial = {
  /** Absent: the authorities that Node trusts. */
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  /** The name that the server's certificate must have, if not the host's. */
  readonly serverName?: string;
  /** Accepts any certificate. */
  readonly insecure?: boolean;
};
