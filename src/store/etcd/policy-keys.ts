import { isNamespaced, POLICY_KINDS, type PolicyObjectId } from '../../policy/document.ts';

/** A parsed key below `<prefix>/flatnet/networkpolicy/`. */
export type PolicyKey =
  | { readonly kind: 'object'; readonly id: PolicyObjectId }
  | { readonly kind: 'pod'; readonly node: string; readonly namespace: string; readonly name: string };

/**
 * Keys of policies, and of the pods that they are about, by node. The folder sorts behind those of `ipam/`:
 * who only watches nodes watches neither.
 */
export class PolicyKeys {
  /** Ends with a slash: every key starts with it. */
  readonly root: string;

  /** `prefix`: the network's prefix, as in flannel's `--etcd-prefix`. */
  constructor(prefix: string) {
    this.root = `${prefix.replace(/\/+$/, '')}/flatnet/networkpolicy/`;
  }

  /** The prefix of every policy's key, and of what belongs to policies. */
  get objects(): string {
    return `${this.root}objects/`;
  }

  object({ kind, namespace, name }: PolicyObjectId): string {
    const parts = [folderOf(kind), ...(namespace === undefined ? [] : [namespace]), name];
    return this.objects + parts.map(encodeURIComponent).join('/');
  }

  /** The prefix of a node's pods. */
  pods(node: string): string {
    return `${this.root}pods/${encodeURIComponent(node)}/`;
  }

  pod(node: string, namespace: string, name: string): string {
    return this.pods(node) + [namespace, name].map(encodeURIComponent).join('/');
  }

  /** Undefined for any key that the methods above do not produce. */
  kindOf(key: string): PolicyKey | undefined {
    if (!key.startsWith(this.root)) return undefined;
    const [folder, ...rest] = key.slice(this.root.length).split('/');
    const [first, second, third] = rest.map(decoded);
    const parsed = folder === 'pods' ? podKey(first, second, third) : objectKey(first, second, third);
    return parsed && this.#write(parsed) === key ? parsed : undefined;
  }

  #write(key: PolicyKey): string {
    return key.kind === 'pod' ? this.pod(key.node, key.namespace, key.name) : this.object(key.id);
  }
}

/** `Calico NetworkPolicy` without the space. */
function folderOf(kind: string): string {
  return kind.replaceAll(' ', '');
}

function podKey(node?: string, namespace?: string, name?: string): PolicyKey | undefined {
  return node && namespace && name ? { kind: 'pod', node, namespace, name } : undefined;
}

function objectKey(folder?: string, first?: string, second?: string): PolicyKey | undefined {
  const kind = POLICY_KINDS.find((each) => folderOf(each) === folder);
  if (kind === undefined || !first) return undefined;
  if (!isNamespaced(kind)) return { kind: 'object', id: { kind, name: first } };
  return second ? { kind: 'object', id: { kind, namespace: first, name: second } } : undefined;
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
