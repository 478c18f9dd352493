//! The plugins that we did not write, in a folder of plugins.

use std::{fs, os::unix::fs::symlink, path::Path};

/// Where Debian's containernetworking-plugins are.
pub(crate) const STOCK: &str = "/usr/lib/cni";

/// Plugins that we did not write: containerd itself runs `loopback`, the others can be chained.
const CHAINED: [&str; 5] = ["loopback", "portmap", "bandwidth", "tuning", "firewall"];

/// Links the plugins that we did not write into a folder of plugins.
pub(crate) fn install_stock(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for plugin in CHAINED {
        let stock = Path::new(STOCK).join(plugin);
        assert!(
            stock.exists(),
            "{} is missing: install containernetworking-plugins",
            stock.display()
        );
        symlink(stock, folder.join(plugin)).unwrap();
    }
}
