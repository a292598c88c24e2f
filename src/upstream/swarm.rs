//! Tells a Docker Swarm service's virtual IP by its marks. Behind such an address the kernel balances
//! connections, not requests, and health is nobody's; the tasks' own addresses stand under `tasks.NAME`.

use std::net::{IpAddr, Ipv4Addr};

/// Where Docker's name server listens in every container.
const DOCKER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11));

/// Whether an answer may be a virtual IP: one address, from Docker's name server, for a name that is not
/// already that of the tasks.
pub(super) fn may_be_virtual_ip(name: &str, server: IpAddr, addresses: usize) -> bool {
    server == DOCKER && addresses == 1 && !name.to_ascii_lowercase().starts_with("tasks.")
}

/// The name that has the addresses of the service's tasks.
pub(super) fn tasks_name(name: &str) -> String {
    format!("tasks.{name}")
}

/// What to tell the operator of a name that may be a virtual IP, by how many addresses its tasks have.
pub(super) fn advice(name: &str, tasks: usize) -> Option<String> {
    let better = tasks_name(name);
    (tasks > 1).then(|| format!("this name is a Swarm virtual IP (one address; {better} has {tasks}): use {better}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_from_docker_may_be_a_virtual_ip() {
        assert!(may_be_virtual_ip("app", DOCKER, 1));
        assert!(!may_be_virtual_ip("app", DOCKER, 3));
        assert!(!may_be_virtual_ip("Tasks.app", DOCKER, 1));
        assert!(!may_be_virtual_ip("app", IpAddr::from([10, 0, 0, 53]), 1));
    }

    #[test]
    fn advice_is_given_only_where_it_helps() {
        let text = "this name is a Swarm virtual IP (one address; tasks.app has 3): use tasks.app";
        assert_eq!(advice("app", 3).as_deref(), Some(text));
        assert_eq!(advice("app", 1), None, "one task: nothing to balance");
        assert_eq!(advice("app", 0), None);
    }
}
