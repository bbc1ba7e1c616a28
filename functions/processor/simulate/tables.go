package simulate

import (
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"example.com/market-data-pipeline/functions/processor/settings"
)

// Tables are the pipeline's two tables, as the construct declares them, under the given names.
func Tables(alerts, state string) []TableConfig {
	return []TableConfig{
		{
			Name:         alerts,
			PartitionKey: Key{Name: settings.AlertsPartitionKey},
			SortKey:      Key{Name: settings.AlertsSortKey},
			TTLAttribute: settings.AlertsTTL,
			Indexes: []IndexConfig{
				{
					Name:         settings.DayIndex,
					PartitionKey: Key{Name: settings.DayShardKey},
					SortKey:      Key{Name: settings.AlertsSortKey},
					Projection:   types.ProjectionTypeInclude,
					NonKey:       []string{"source", "rule", "severity", "summary", "price", "value", "timestamp"},
				},
				{
					Name:         settings.PendingIndex,
					PartitionKey: Key{Name: settings.PendingShardKey},
					SortKey:      Key{Name: settings.PendingLeaseKey, Type: types.ScalarAttributeTypeN},
					Projection:   types.ProjectionTypeKeysOnly,
				},
			},
		},
		{
			Name:         state,
			PartitionKey: Key{Name: settings.StatePartitionKey},
			TTLAttribute: settings.StateTTL,
			Indexes: []IndexConfig{{
				Name:         settings.DueIndex,
				PartitionKey: Key{Name: settings.DueShardKey},
				SortKey:      Key{Name: settings.DueKey, Type: types.ScalarAttributeTypeN},
				Projection:   types.ProjectionTypeInclude,
				NonKey:       []string{settings.DueEvent, settings.DueGroup},
			}},
		},
	}
}
