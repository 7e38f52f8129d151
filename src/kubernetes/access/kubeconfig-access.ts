import type { Access, Headers, TlsMaterial } from './access.ts';
import { ExecPlugin } from './exec-plugin.ts';
import { FreshFile } from './fresh-file.ts';
import type { KubeconfigContext, KubeconfigUser, Material } from './kubeconfig.ts';

/** A text that may change. */
type Source = { readonly text: () => Promise<string>; readonly forget: () => void };

/** Access as a kubeconfig's context describes it. Files and plugins are asked again as credentials rotate. */
export function kubeconfigAccess({ cluster, user, namespace }: KubeconfigContext): Access {
  const [ca, cert, key, token] = [cluster.ca, user.cert, user.key, user.token].map(sourceOf);
  const clusterTls = async (): Promise<TlsMaterial> => ({
    ...(ca && { ca: await ca.text() }),
    ...(cluster.serverName && { serverName: cluster.serverName }),
    ...(cluster.insecure && { insecure: true }),
  });
  const { server } = cluster;
  const plugin = user.exec && new ExecPlugin(user.exec, { server, tls: clusterTls });
  return {
    server,
    namespace,
    tls: async () => {
      const tls = await clusterTls();
      if (cert && key) return { ...tls, cert: await cert.text(), key: await key.text() };
      const issued = await plugin?.credential();
      return issued?.cert && issued.key ? { ...tls, cert: issued.cert, key: issued.key } : tls;
    },
    headers: async () => {
      // What the user has been given goes before what a plugin would fetch.
      const bearer = token ? (await token.text()).trim() : (await plugin?.credential())?.token;
      return { ...authorization(user, bearer), ...impersonation(user) };
    },
    forget: () => {
      for (const source of [ca, cert, key, token, plugin]) source?.forget();
    },
  };
}

function authorization({ basic }: KubeconfigUser, bearer: string | undefined): Headers {
  if (bearer) return { authorization: `Bearer ${bearer}` };
  if (!basic) return {};
  const pair = Buffer.from(`${basic.username}:${basic.password}`).toString('base64');
  return { authorization: `Basic ${pair}` };
}

function impersonation({ impersonate }: KubeconfigUser): Headers {
  if (!impersonate) return {};
  const { user, uid, groups } = impersonate;
  return {
    'impersonate-user': user,
    ...(uid && { 'impersonate-uid': uid }),
    ...(groups.length && { 'impersonate-group': [...groups] }),
  };
}

function sourceOf(material: Material | undefined): Source | undefined {
  if (!material) return undefined;
  if ('file' in material) {
    const file = new FreshFile(material.file);
    return { text: () => file.text(), forget: () => file.forget() };
  }
  return { text: async () => material.text, forget: () => {} };
}
