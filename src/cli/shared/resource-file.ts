import { Option } from 'commander';
import type { Document } from '../../cluster/calico/document.ts';
import { readResources } from '../../cluster/calico/manifest.ts';
import { readDocuments } from '../../cluster/documents.ts';
import { FlatnetError, messageOf } from '../../error.ts';
import type { Placed } from '../../policy/check.ts';
import { isPolicyObject, readPolicyDocument } from '../../policy/document.ts';
import type { Step } from '../../store/policies/apply.ts';
import type { PolicyObjects } from '../../store/ports/policies.ts';
import type { Store } from '../../store/ports/store.ts';
import { collect } from './commands.ts';
import { readText } from './read-text.ts';

export type Done = { readonly object: string; readonly outcome: string };

/** Resources of networks, and policies with what belongs to them. */
export type Objects = { readonly documents: readonly Document[]; readonly policies: readonly Placed[] };

/** Reads each `-f FILE` (`-` is standard input). Throws CONFIG_INVALID; what policies say is not checked. */
export function objectsOf(files: readonly string[]): Objects {
  const all = files.map((file) => {
    const filename = file === '-' ? 'standard input' : file;
    const items = readDocuments(readText(file, 'CONFIG_INVALID'), filename, 'CONFIG_INVALID');
    if (items.length === 0)
      throw new FlatnetError('contains no resource', { code: 'CONFIG_INVALID', object: filename });
    const { resources = [], policies = [] } = Object.groupBy(items, ({ value }) =>
      isPolicyObject(value) ? 'policies' : 'resources',
    );
    return {
      documents: readResources(resources, filename),
      policies: policies.map((item) => ({ document: readPolicyDocument(item), where: item.where })),
    };
  });
  return {
    documents: all.flatMap(({ documents }) => documents),
    policies: all.flatMap(({ policies }) => policies),
  };
}

/** Throws CONFIG_INVALID for a store in which others write policies. */
export function policyObjectsOf({ policyObjects }: Pick<Store, 'policyObjects'>): PolicyObjects {
  if (policyObjects) return policyObjects;
  throw new FlatnetError('with the Kubernetes API as the store, policies are objects of its own', {
    code: 'CONFIG_INVALID',
    object: 'store',
    fix: 'use kubectl for them',
  });
}

export function fileOption(what: string): Option {
  const option = new Option('-f, --file <file>', `${what}; - is standard input; may be repeated`);
  return option.argParser(collect((text) => text));
}

/** Takes the steps in turn; if one fails, the error lists what was done before. */
export async function each(steps: readonly Step<string>[]): Promise<Done[]> {
  const done: Done[] = [];
  for (const { title, run } of steps) {
    try {
      done.push({ object: title, outcome: await run() });
    } catch (error) {
      if (done.length === 0) throw error;
      throw new FlatnetError(`${messageOf(error)}; already done: ${doneText(done, ', ')}`, {
        code: error instanceof FlatnetError ? error.code : 'INTERNAL',
        cause: error,
      });
    }
  }
  return done;
}

export function doneText(done: readonly Done[], separator = '\n'): string {
  return done.map(({ object, outcome }) => `${object} ${outcome}`).join(separator);
}
