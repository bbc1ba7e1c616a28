"""moto's server with what moto 5.2.1's CloudFormation lacks to create this stack: a key that has tags, and alarms, of
which the dashboard needs the ARNs."""

from moto.cloudwatch.models import cloudwatch_backends
from moto.core.common_models import CloudFormationModel
from moto.kms.models import KmsBackend
from moto.server import main

tag_resource = KmsBackend.tag_resource


def tag_resource_by_either_name(self, key_id, tags):
    """CloudFormation names the parts of a tag Key and Value, KMS names them TagKey and TagValue."""
    tag_resource(self, key_id, [
        {"TagKey": t.get("TagKey", t.get("Key")), "TagValue": t.get("TagValue", t.get("Value"))} for t in tags
    ])


KmsBackend.tag_resource = tag_resource_by_either_name


class Alarm(CloudFormationModel):
    """An alarm by its name, threshold and actions. moto evaluates no alarms: the metrics are left out."""

    __module__ = "moto.cloudwatch.models"  # by which moto counts its resources

    def __init__(self, alarm):
        self.alarm = alarm
        self.physical_resource_id = alarm.name

    @staticmethod
    def cloudformation_name_type():
        return "AlarmName"

    @staticmethod
    def cloudformation_type():
        return "AWS::CloudWatch::Alarm"

    @classmethod
    def has_cfn_attr(cls, attr):
        return attr == "Arn"

    def get_cfn_attribute(self, attribute_name):
        return self.alarm.alarm_arn

    @classmethod
    def create_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name, **kwargs):
        p = cloudformation_json["Properties"]
        return cls(cloudwatch_backends[account_id][region_name].put_metric_alarm(
            name=resource_name, namespace=None, metric_name=None, period=None, statistic=None, dimensions=[],
            comparison_operator=p["ComparisonOperator"], evaluation_periods=p["EvaluationPeriods"],
            threshold=p["Threshold"], description=p.get("AlarmDescription"), alarm_actions=p.get("AlarmActions", []),
            treat_missing_data=p.get("TreatMissingData"),
        ))

    def delete(self, account_id, region_name):
        cloudwatch_backends[account_id][region_name].delete_alarms([self.alarm.name])


if __name__ == "__main__":
    main()
