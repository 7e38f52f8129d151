// Bundles the agent with the command line, and the CNI plugin for Node, into one file each (scripts/build-bundle).
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type BuildOptions, build, type Plugin } from 'esbuild';

const ROOT = join(import.meta.dirname, '../..');

/**
 * koffi looks for its native half among node_modules. In the bundle it is the file beside it: nothing else may
 * be loaded from wherever the bundle happens to be.
 */
const koffi: Plugin = {
  name: 'koffi',
  setup(bundler) {
    bundler.onResolve({ filter: /^koffi$/ }, () => ({
      path: join(ROOT, 'node_modules/koffi/src/koffi/indirect.js'),
    }));
    bundler.onLoad({ filter: /koffi\/indirect\.js$/ }, async ({ path }) => {
      const text = await readFile(path, 'utf8');
      const names = /let names = \[.*?\n {2}\];/gs;
      if ([...text.matchAll(names)].length !== 1) {
        return { errors: [{ text: 'koffi finds its native half in another way than before' }] };
      }
      // biome-ignore lint/suspicious/noTemplateCurlyInString: code of the bundle
      return { contents: text.replace(names, 'let names = [`${import.meta.dirname}/koffi.node`];') };
    });
  },
};

/** Amazon's SDK, which few nodes need, stays a file of its own. */
const sdk: Plugin = {
  name: 'sdk',
  setup(bundler) {
    bundler.onResolve({ filter: /^\.\/sdk\.ts$/ }, () => ({ path: './aws-ec2.mjs', external: true }));
  },
};

const COMMON: BuildOptions = {
  absWorkingDir: ROOT,
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node26',
  // Names stay: they are in stack traces.
  minifyWhitespace: true,
  minifySyntax: true,
  charset: 'utf8',
  legalComments: 'none',
  logLevel: 'warning',
  // Packages in CommonJS, such as commander, require Node's modules.
  banner: {
    js: "import{createRequire as __createRequire}from'node:module';const require=__createRequire(import.meta.url);",
  },
};

/** Writes `flatnet.mjs`, `aws-ec2.mjs`, `flatnet-cni.mjs` into a folder. */
export async function bundle(folder: string): Promise<void> {
  await build({
    ...COMMON,
    entryPoints: ['src/cli/main.ts'],
    outfile: join(folder, 'flatnet.mjs'),
    plugins: [koffi, sdk],
  });
  await build({
    ...COMMON,
    entryPoints: ['src/companions/aws-vpc/sdk.ts'],
    // Its modules for ES, of which only what is used comes along.
    mainFields: ['module', 'main'],
    outfile: join(folder, 'aws-ec2.mjs'),
  });
  await build({
    ...COMMON,
    entryPoints: ['src/cni/shim/plugin.ts'],
    inject: ['tools/bundle/bun-on-node.ts'],
    outfile: join(folder, 'flatnet-cni.mjs'),
  });
}

if (process.argv[1] === import.meta.filename) {
  const [folder] = process.argv.slice(2);
  if (folder === undefined) throw new Error('usage: bundle.ts FOLDER');
  await bundle(folder);
}
