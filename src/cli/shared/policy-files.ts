import { dirname, resolve } from 'node:path';
import { type Item, readDocuments } from '../../cluster/documents.ts';
import type { Cluster } from '../../policy/explain/explain.ts';
import { type Described, readCluster } from '../../policy/manifest.ts';
import { policyText } from '../../policy/model/policy.ts';
import { readText } from './read-text.ts';

/** All objects of the files; `-` is standard input. */
export function readFiles(files: readonly string[]): readonly Item[] {
  return files.flatMap((file) =>
    readDocuments(
      readText(file, 'MANIFEST_INVALID'),
      file === '-' ? 'standard input' : file,
      'MANIFEST_INVALID',
    ),
  );
}

/** A file named in another, as seen from there. */
export function beside(file: string, name: string): string {
  return file === '-' ? name : resolve(dirname(file), name);
}

/** The cluster that the objects describe. What is wrong with policies is told on standard error. */
export function clusterOf(items: readonly Item[]): Cluster & Pick<Described, 'problems'> {
  const { tiers, entities, problems } = readCluster(items);
  for (const { policy, problem, closes } of problems) {
    const effect = closes ? ' and closes its pods' : '';
    process.stderr.write(`warning: ${policyText(policy)} cannot be read${effect}: ${problem}\n`);
  }
  return { tiers, entities, names: new Map(), problems };
}
