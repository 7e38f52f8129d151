import { DEFAULT_PATHS } from '../agent/options.ts';
import { removeConfList } from '../cni/protocol/conflist.ts';
import { removePlugins } from '../cni/shim/install.ts';
import { newCommand } from './shared/commands.ts';
import { print } from './shared/output.ts';

type Flags = { readonly cniBinDir: string; readonly cniConfDir: string; readonly json?: boolean };

export const command = newCommand(
  'Remove the CNI plugin and flatnet’s network configuration, and nothing else: running pods keep their network. The node takes no new pods until another network is installed.',
  ['flatnet uninstall --cni-bin-dir /host/opt/cni/bin --cni-conf-dir /host/etc/cni/net.d'],
)
  .option('--cni-bin-dir <folder>', 'where the runtime looks for plugins', DEFAULT_PATHS.cniBin)
  .option('--cni-conf-dir <folder>', 'where it looks for network configurations', DEFAULT_PATHS.cniConf)
  .option('--json', 'machine-readable output')
  .action(({ cniBinDir, cniConfDir, json }: Flags) => {
    // First what makes the runtime call the plugin.
    const removed = [...removeConfList(cniConfDir), ...removePlugins(cniBinDir)];
    const text = () => removed.map((path) => `removed ${path}`).join('\n') || 'nothing of flatnet’s is there';
    print({ removed }, json, text);
  });
