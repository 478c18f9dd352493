//! Serves the EC2 API of a small VPC with one instance on a loopback port, without root.
//!
//! `cargo run -p vpc-sim --example ec2_only [ADDRESS] [SPEC.toml]`, then
//! `AWS_ENDPOINT_URL_EC2=http://… aws ec2 describe-network-interfaces`, with the region `us-west-2` and
//! the example key of AWS's documentation.

use anyhow::Context as _;
use std::{io::Write as _, sync::Arc};
use tokio::net::TcpListener;
use vpc::{Launch, Spec, Vpc};
use vpc_sim::api::{cloud::Cloud, ec2, hangup};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:0".into());
    let spec = match arguments.next() {
        Some(path) => {
            let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
            toml::from_str(&text).with_context(|| format!("understand {path}"))?
        }
        None => Spec::default(),
    };
    let cloud = Cloud::new(Vpc::new(spec)?);
    cloud.with(|vpc, now| {
        let subnet = vpc.subnets().values().find(|subnet| subnet.public_ips);
        let launch = Launch {
            node: "node-a".into(),
            instance_type: "m5.large".into(),
            subnet_id: subnet.context("the world has no public subnet")?.id.clone(),
            groups: Vec::new(),
            role: Some("node".into()),
        };
        vpc.run_instance(now, &launch).context("launch an instance")
    })?;
    tokio::spawn(Arc::clone(&cloud).run());
    let listener = TcpListener::bind(&address).await.with_context(|| format!("bind {address}"))?;
    writeln!(std::io::stdout(), "http://{}", listener.local_addr()?)?;
    hangup::serve(listener, ec2::router(cloud)).await.context("serve EC2")
}
