"""Files to rows, in a sandbox: `loading` fetches and parses them in the background."""
