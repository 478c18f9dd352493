//! Namespaces, devices, the router and its filters.
