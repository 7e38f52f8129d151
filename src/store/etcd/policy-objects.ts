import { isDeepStrictEqual } from 'node:util';
import { parseForeignJson } from '../../cluster/json.ts';
import { messageOf } from '../../error.ts';
import { idOf, type PolicyDocument, type PolicyObjectId, readPolicyDocument } from '../../policy/document.ts';
import { policyText } from '../../policy/model/policy.ts';
import { excerpt } from '../../problem.ts';
import type { Kv } from '../kv/kv.ts';
import type { PolicyObjects } from '../ports/policies.ts';
import type { ApplyOutcome } from '../ports/resources.ts';
import type { PolicyKeys } from './policy-keys.ts';

/** What a key holds, or why it does not count. */
export type ReadObject = { readonly document: PolicyDocument } | { readonly problem: string };

const NOT_OURS: ReadObject = { problem: 'is not a key of flatnet’s' };

/** Reads the value of an object's key, which must be about that object. */
export function readObject(text: string, id: PolicyObjectId): ReadObject {
  try {
    const document = readPolicyDocument({ value: parseForeignJson(text), where: '' });
    const title = policyText(idOf(document));
    return title === policyText(id) ? { document } : { problem: `says it is ${title}` };
  } catch (error) {
    return { problem: messageOf(error) };
  }
}

/** Policies, and what belongs to them, as JSON. */
export class EtcdPolicyObjects implements PolicyObjects {
  readonly #kv: Kv;
  readonly #keys: PolicyKeys;

  constructor(kv: Kv, keys: PolicyKeys) {
    this.#kv = kv;
    this.#keys = keys;
  }

  async list(warn: (problem: string) => void): Promise<readonly PolicyDocument[]> {
    const { items } = await this.#kv.list(this.#keys.objects);
    return items.flatMap(({ key, value }) => {
      const parsed = this.#keys.kindOf(key);
      const read = parsed?.kind === 'object' ? readObject(value, parsed.id) : NOT_OURS;
      if ('document' in read) return [read.document];
      warn(excerpt(`${key}: ${read.problem}`, 400));
      return [];
    });
  }

  async apply(document: PolicyDocument): Promise<ApplyOutcome> {
    const key = this.#keys.object(idOf(document));
    const there = await this.#kv.get(key);
    const value = JSON.stringify(document);
    if (there && isDeepStrictEqual(jsonIn(there.value), JSON.parse(value))) return 'unchanged';
    await this.#kv.put(key, value);
    return there ? 'configured' : 'created';
  }

  async delete(id: PolicyObjectId): Promise<boolean> {
    return (await this.#kv.delete(this.#keys.object(id))) > 0;
  }
}

function jsonIn(text: string): unknown {
  try {
    return parseForeignJson(text);
  } catch {
    return undefined;
  }
}
