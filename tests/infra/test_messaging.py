"""Messages reach their consumers fairly, and have a place to go when nobody can handle them."""

import json

from infra_cdk.messaging import PRIORITIES
from tests.infra.cloud_assembly import Assembly, Resource, as_list, texts_in


def queues_of(assembly: Assembly) -> dict[str, Resource]:
    return {
        queue.properties["QueueName"].removeprefix(f"{assembly.installation}-"): queue
        for queue in assembly.resources("AWS::SQS::Queue")
    }


def dead_letter_queue_of(assembly: Assembly, queue: Resource) -> str:
    target = queue.properties["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0]
    name = assembly.named("Messaging", target).properties["QueueName"]
    return name.removeprefix(f"{assembly.installation}-")


def test_every_queue_has_a_dead_letter_queue_and_the_last_one_is_the_parking(assembly: Assembly) -> None:
    queues = queues_of(assembly)

    dead_letters = {name: dead_letter_queue_of(assembly, queue) for name, queue in queues.items() if name != "parked"}

    for name, dead in dead_letters.items():
        assert dead == ("parked" if name.endswith("-dlq") else f"{name}-dlq")
    assert "RedrivePolicy" not in queues["parked"].properties


def test_nobody_consumes_the_parking(assembly: Assembly) -> None:
    sources = [m.properties["EventSourceArn"] for m in assembly.resources("AWS::Lambda::EventSourceMapping")]

    assert sources
    assert not any("Parking" in text for source in sources for text in texts_in(source))


def test_the_consumer_of_dead_letters_is_fed_by_every_dead_letter_queue(on_aws: Assembly) -> None:
    mappings = [
        mapping
        for mapping in on_aws.resources("AWS::Lambda::EventSourceMapping")
        if mapping.logical_id.startswith("BuryParts")
    ]
    sources = {text for mapping in mappings for text in texts_in(mapping.properties["EventSourceArn"])}

    dead = [queue for name, queue in queues_of(on_aws).items() if name.endswith("-dlq")]
    assert len(mappings) == len(dead) == 7
    assert all(any(queue.logical_id in text for text in sources) for queue in dead)


def test_a_consumer_is_attached_as_it_declares(on_aws: Assembly) -> None:
    mappings = [
        mapping.properties
        for mapping in on_aws.resources("AWS::Lambda::EventSourceMapping")
        if mapping.logical_id.startswith("MoveParts")
    ]

    assert len(mappings) == 2
    for mapping in mappings:
        assert mapping["BatchSize"] == 7
        assert mapping["MaximumBatchingWindowInSeconds"] == 1
        assert mapping["ScalingConfig"] == {"MaximumConcurrency": 3}
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_a_message_stays_invisible_for_longer_than_its_consumer_may_take(assembly: Assembly) -> None:
    queues = {queue.logical_id: queue for queue in assembly.resources("AWS::SQS::Queue")}
    for mapping in assembly.resources("AWS::Lambda::EventSourceMapping"):
        function = assembly.named(mapping.template, mapping.properties["FunctionName"]["Ref"])
        source = " ".join(texts_in(mapping.properties["EventSourceArn"]))
        (queue,) = [queue for logical_id, queue in queues.items() if f"GetAtt{logical_id}Arn" in source]

        window = mapping.properties.get("MaximumBatchingWindowInSeconds", 0)
        assert queue.properties["VisibilityTimeout"] > function.properties["Timeout"] + window


def test_a_dead_letter_is_kept_longer_than_the_message_it_was(assembly: Assembly) -> None:
    queues = queues_of(assembly)

    # SQS counts a dead letter's age from when the message was first sent.
    for name, queue in queues.items():
        days = 14 if name.endswith("-dlq") or name == "parked" else 4
        assert queue.properties["MessageRetentionPeriod"] == days * 24 * 60 * 60


def test_every_queue_is_encrypted_and_refuses_plain_http(assembly: Assembly) -> None:
    policies = {
        reference["Ref"]: policy.properties["PolicyDocument"]["Statement"]
        for policy in assembly.resources("AWS::SQS::QueuePolicy")
        for reference in policy.properties["Queues"]
    }
    for queue in assembly.resources("AWS::SQS::Queue"):
        refusals = [s for s in policies[queue.logical_id] if s["Effect"] == "Deny"]

        assert queue.properties["SqsManagedSseEnabled"] is True
        assert [s["Condition"] for s in refusals] == [{"Bool": {"aws:SecureTransport": "false"}}]


def test_each_priority_goes_to_its_own_fair_queue(assembly: Assembly) -> None:
    rules = {rule.logical_id[:7]: rule.properties for rule in assembly.resources("AWS::Events::Rule")}

    for priority in PRIORITIES:
        rule = rules[f"Route{priority.name}"]
        (target,) = rule["Targets"]
        queue = assembly.named("Messaging", target["Arn"]["Fn::GetAtt"][0])
        dead = assembly.named("Messaging", target["DeadLetterConfig"]["Arn"]["Fn::GetAtt"][0])
        assert rule["EventPattern"] == {"detail": {"priority": [priority.name]}}
        assert queue.properties["QueueName"] == f"{assembly.installation}-{priority}"
        assert dead.properties["QueueName"] == f"{assembly.installation}-{priority}-dlq"
        assert target["SqsParameters"] == {"MessageGroupId": "$.detail.tenantId"}


def test_the_clock_calls_a_scheduled_function_and_may_call_no_other(on_aws: Assembly) -> None:
    (schedule,) = on_aws.resources("AWS::Scheduler::Schedule")
    target = schedule.properties["Target"]
    role = on_aws.named("Events", target["RoleArn"]["Fn::GetAtt"][0])
    (statement,) = role.properties["Policies"][0]["PolicyDocument"]["Statement"]

    function = on_aws.named("Events", target["Arn"]["Fn::GetAtt"][0])
    assert schedule.properties["ScheduleExpression"] == "rate(1 minute)"
    assert function.properties["FunctionName"] == "blue-count-parts"
    assert statement["Resource"] == target["Arn"]


def test_a_failed_asynchronous_task_ends_in_a_dead_letter_queue_after_two_retries(on_aws: Assembly) -> None:
    configurations = [c.properties for c in on_aws.resources("AWS::Lambda::EventInvokeConfig")]

    (failing,) = [c for c in configurations if "DestinationConfig" in c]
    function = on_aws.named("Engine", failing["FunctionName"]["Ref"])
    assert function.properties["FunctionName"] == "blue-polish-part"
    assert failing["MaximumRetryAttempts"] == 2
    assert "TasksDeadLetters" in json.dumps(failing["DestinationConfig"]["OnFailure"])


def test_an_alarm_watches_every_dead_letter_queue_and_the_parking_and_tells_somebody(on_aws: Assembly) -> None:
    alarms = [a.properties for a in on_aws.resources("AWS::CloudWatch::Alarm")]
    watched = " ".join(text for alarm in alarms for text in texts_in(alarm.get("Dimensions", [])))

    for name, queue in queues_of(on_aws).items():
        if name.endswith("-dlq") or name == "parked":
            assert queue.logical_id in watched
    assert all(len(as_list(alarm["AlarmActions"])) == 1 for alarm in alarms)


def test_without_an_address_the_alarms_are_silent(on_laptop: Assembly) -> None:
    alarms = on_laptop.resources("AWS::CloudWatch::Alarm")

    assert alarms
    assert not any("AlarmActions" in alarm.properties for alarm in alarms)
    assert on_laptop.resources("AWS::SNS::Topic") == []
