/** The path of the bundle of a program of the workspace, given by the absolute path of its source; builds it if a source has changed since the last time. */
export function bundled(entry: string): Promise<string>;
