/**
 * Replaces `$(NAME)` as Kubernetes does in command, args and env: an unknown name stays as it is written,
 * `$$(NAME)` is the text `$(NAME)`.
 */
export function expand(text: string, env: Readonly<Record<string, string>>): string {
  return text.replace(/\$(\$|\(([^)]*)\))/g, (match, rest: string, name: string | undefined) => {
    if (rest === '$') return '$';
    return env[name ?? ''] ?? match;
  });
}
