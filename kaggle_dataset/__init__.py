"""The post office: packs code and members, proves the kernel offline, sends it, fetches what it is worth."""
