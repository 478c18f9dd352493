//! The VPC, described.

use super::{
    call::{Asked, Entry, lookup},
    params::Params,
    write::{Describe, page},
    xml::Xml,
};
use vpc::{Action, Ec2Error};

pub(super) const CALLS: &[Entry] = &[(Action::DESCRIBE_VPCS, describe)];

fn describe(p: &mut Params) -> Result<Asked, Ec2Error> {
    let lookup = lookup(p, "VpcId")?;
    Ok(Asked::look_up(lookup, |scene, lookup| {
        let found = scene.vpc.describe_vpcs(lookup)?;
        Ok(page("vpcSet", &found, |xml, _| scene.describe().vpc(xml)))
    }))
}

impl Describe<'_> {
    fn vpc(&self, xml: &mut Xml) {
        let id = self.vpc.id();
        xml.text("vpcId", id);
        xml.text("ownerId", self.vpc.account());
        xml.text("state", "available");
        xml.optional("cidrBlock", self.vpc.cidrs().first());
        let blocks = self.vpc.cidrs().iter().enumerate();
        xml.set("cidrBlockAssociationSet", blocks, |xml, (index, cidr)| {
            let number = id.trim_start_matches("vpc-");
            xml.text("associationId", format!("vpc-cidr-assoc-{number}{index}"));
            xml.text("cidrBlock", cidr);
            xml.element("cidrBlockState", |xml| xml.text("state", "associated"));
        });
        xml.text("instanceTenancy", "default");
        xml.text("isDefault", false);
        self.tags(xml, id);
    }
}
